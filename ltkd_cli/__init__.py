"""ltkd: long-tailed knowledge distillation from cached teacher outputs."""

__version__ = "0.2.0.dev0"
