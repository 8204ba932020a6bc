"""Plan of a run before the wait: passes, FLOPs, memory, disk, time and fitting batch sizes."""

from mechshift.run.planning.machine import Machine as Machine
from mechshift.run.planning.machine import MachineOptions as MachineOptions
from mechshift.run.planning.machine import find_machine as find_machine
from mechshift.run.planning.plan import RunPlan as RunPlan
from mechshift.run.planning.plan import memory_table as memory_table
from mechshift.run.planning.plan import plan_run as plan_run
from mechshift.run.planning.plan import stage_table as stage_table
from mechshift.run.planning.plan import task_table as task_table
from mechshift.run.planning.schedule import FleetOptions as FleetOptions
from mechshift.run.planning.schedule import Schedule as Schedule
from mechshift.run.planning.schedule import fleet_line as fleet_line
from mechshift.run.planning.schedule import fleet_table as fleet_table
from mechshift.run.planning.schedule import schedule_table as schedule_table
from mechshift.run.planning.schedule import simulate as simulate
