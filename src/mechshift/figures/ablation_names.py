"""How do figures call the run in which every edge is ablated, faithfulness 0?"""

from mechshift.evaluation import AblationName

EMPTY_NAMES: dict[AblationName, str] = {
    "resample": "corrupted prompt",
    "mean": "all at their mean",
    "zero": "all at zero",
}
