"""The loss of mixtures from definitions of that of single labels: slow, and in float64."""


def by_image(definition, student, teacher, batch, counts):
    """Each image by itself, once with either label, by their shares."""
    total = 0
    for i, share in enumerate(batch.partners.shares.double()):
        for labels, part in ((batch.labels, share), (batch.partners.labels, 1 - share)):
            one = slice(i, i + 1)
            total = total + part * definition(student[one], teacher[one], labels[one], counts)
    return total / len(batch.labels)


def beside_the_teacher(definition, student, teacher, batch, counts):
    """Of a method that compares the images of a batch, and has a plain cross-entropy beside."""
    change = label_change(student, batch)
    return definition(student, teacher, batch.labels, counts) + change


def by_weights(class_weights):
    """Of a mean by class weights, from a definition that is plain for an image by itself."""

    def mixed(definition, student, teacher, batch, counts):
        weights, losses, total = class_weights(counts), 0, 0
        for i, share in enumerate(batch.partners.shares.double()):
            for labels, part in ((batch.labels, share), (batch.partners.labels, 1 - share)):
                one, weight = slice(i, i + 1), part * weights[labels[i]]
                losses += weight * definition(student[one], teacher[one], labels[one], counts)
                total += weight
        return losses / total

    return mixed


def label_change(logits, batch):
    """What the partners change of a mean cross-entropy: the rest times the logits' difference."""
    total = 0
    for i, share in enumerate(batch.partners.shares.to(logits.dtype)):
        total += (1 - share) * (logits[i, batch.labels[i]] - logits[i, batch.partners.labels[i]])
    return total / len(batch.labels)
