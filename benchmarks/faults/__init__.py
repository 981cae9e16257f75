"""What damage, kills, hostile files and odd input do to ltkd: `make faults`.

Every case ends in one of two ways, or it is wrong: the result is the undisturbed one, bit for bit,
or a command refuses with an exit code and a sentence. A traceback, a crash, a hang and another
number are wrong.
"""
