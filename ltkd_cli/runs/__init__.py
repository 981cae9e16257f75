"""Run folders: everything that came of one command, in `runs/0007-distill-bkd-resnet20/`.

run.json            settings, environment, parents with hashes, status, scores
config.toml         settings by the names of the options, for --config
metrics.jsonl       one line an epoch; of a re-training, for those evaluated on the way
model.safetensors   the weights, once training has ended
per_class.csv       scores of every class on the test set
state.pt            training state, only until the run is done
"""

from .creation import check_name, create, creating
from .finding import all_runs, find, newest, survey
from .folder import Follower, Run, read

__all__ = [
    "Follower",
    "Run",
    "all_runs",
    "check_name",
    "create",
    "creating",
    "find",
    "newest",
    "read",
    "survey",
]
