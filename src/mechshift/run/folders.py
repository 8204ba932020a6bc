"""Folders of a run: where the records of each stage lie, for whoever writes or reads them.

RUN/analysis                   circuit size, level and rules of the verdict, stored before any score
RUN/pool/TASK                  examples of both splits, what both models answered, the schedule
RUN/scores/TASK/MEMBER         edge scores of each example, or shard of examples; MEMBER is arm, mdm
                               or a control
RUN/others/TASK/MEMBER         edge scores of a sample of the candidates that not both models solve
RUN/others-flow/TASK/MEMBER    the flow of the same candidates
RUN/controls/TASK/CONTROL      whether the control solves the examples that both models solve
RUN/flow/TASK/MEMBER           between which spans of each example information flows
RUN/semantics/TASK/MODEL       lenses, concentration, roles and neurons; texts of their tokens
RUN/faithfulness/TASK/MODEL    the model on its own, on the other's and on baseline circuits
RUN/ablation/TASK/MODEL        what the model loses without some structures, or single components
RUN/comparison/TASK/MEMBER     what the ARM's circuit shares with the MDM's, or with a control's
RUN/sweep/TASK/S/mdm           edge scores of the MDM with S denoising steps, unless the pool has S
RUN/sweep/TASK/S/shift         what the ARM's circuit shares with the MDM's at S steps
RUN/alternatives/TASK/MODEL    the model on other circuits than its own, to find as faithful ones
RUN/explanations/TASK/MODEL    sentences on when neurons fire, and how well they predict it
RUN/conclusions/TASK/TOPIC     the record of a topic, made once from all of the above
RUN/quantities/TASK/MEMBER     each quantity of the MDM or a control, with its resampled draws
RUN/report                     report.html and a CSV file for each figure

In a trajectory a checkpoint is a MEMBER beside the pair and its controls, and there are also:

RUN/answers/TASK/MEMBER        which held-out examples a checkpoint solves, of all that were tried
RUN/crossed/TASK/MEMBER        a checkpoint on its own and the ARM's circuit, the ARM on its circuit
RUN/points/TASK/MEMBER         what is shown of a checkpoint; with it none of the above is read
RUN/trajectory                 trajectory.html, the table of all numbers, a CSV file for each figure
"""

from pathlib import Path

from mechshift.models import Kind

POOL, SCORES, FAITHFULNESS, COMPARISON = "pool", "scores", "faithfulness", "comparison"
FLOW, SEMANTICS, CONTROLS, REPORT = "flow", "semantics", "controls", "report"
ABLATION, SWEEP, EXPLANATIONS = "ablation", "sweep", "explanations"
ALTERNATIVES, OTHERS, OTHERS_FLOW = "alternatives", "others", "others-flow"
CONCLUSIONS, QUANTITIES = "conclusions", "quantities"
ANSWERS, CROSSED, POINTS, TRAJECTORY = "answers", "crossed", "points", "trajectory"

KINDS: tuple[Kind, Kind] = ("arm", "mdm")


def member_title(member: str) -> str:
    """How a progress bar calls a member: controls go by their names."""
    return member.upper() if member in KINDS else member


def pool_folder(run: Path, task: str) -> Path:
    """Where a task's pool is kept."""
    return run / POOL / task


def scores_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's edge scores are kept."""
    return run / SCORES / task / member


def others_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's edge scores of candidates are kept that not both models solve."""
    return run / OTHERS / task / member


def others_flow_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's flow between positions of the same candidates is kept."""
    return run / OTHERS_FLOW / task / member


def control_folder(run: Path, task: str, control: str) -> Path:
    """Where the answers of a control are kept."""
    return run / CONTROLS / task / control


def flow_folder(run: Path, task: str, member: str) -> Path:
    """Where one model's flow between positions is kept."""
    return run / FLOW / task / member


def semantics_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where it is kept what one model's components do."""
    return run / SEMANTICS / task / kind


def faithfulness_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where the results of running circuits in one model are kept."""
    return run / FAITHFULNESS / task / kind


def ablation_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where it is kept what ablations do to one model."""
    return run / ABLATION / task / kind


def comparison_folder(run: Path, task: str, member: str = "mdm") -> Path:
    """Where the comparison of the ARM with another member is kept."""
    return run / COMPARISON / task / member


def sweep_folder(run: Path, task: str, num_steps: int) -> Path:
    """Where the MDM's scores and its shift with so many denoising steps are kept."""
    return run / SWEEP / task / str(num_steps)


def alternatives_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where the results of running other circuits of one model than its own are kept."""
    return run / ALTERNATIVES / task / kind


def explanations_folder(run: Path, task: str, kind: Kind) -> Path:
    """Where sentences on one model's neurons are kept."""
    return run / EXPLANATIONS / task / kind


def conclusion_folder(run: Path, task: str, topic: str) -> Path:
    """Where a topic's record is kept."""
    return run / CONCLUSIONS / task / topic


def quantities_folder(run: Path, task: str, member: str) -> Path:
    """Where every quantity of the MDM or a control is kept."""
    return run / QUANTITIES / task / member


def answers_folder(run: Path, task: str, member: str) -> Path:
    """Where it is kept which examples a checkpoint solves."""
    return run / ANSWERS / task / member


def crossed_folder(run: Path, task: str, member: str) -> Path:
    """Where the results of exchanging circuits with the parent are kept."""
    return run / CROSSED / task / member


def point_folder(run: Path, task: str, member: str) -> Path:
    """Where the numbers of a checkpoint are kept."""
    return run / POINTS / task / member
