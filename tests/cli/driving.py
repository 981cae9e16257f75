"""What tests of the command line share: how an error looks, and what a terminal shows."""


def refused(said, code, problem, hint=""):
    """Whether an answer is an error of that code, about that problem, with a hint, and no more."""
    lines = said.err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert (said.code, said.out, len(errors)) == (code, "", 1)
    assert problem in errors[0]
    assert lines[-1].startswith("try: ")
    assert hint in lines[-1]
    return True
