"""The figures, each a function that returns a matplotlib Figure and says in its docstring how to read it.

Colours are Okabe and Ito's, told apart with every common kind of colour blindness; lines also differ in dash or carry a
direct label.
"""

from thinktuning_lite.views.plots.beyond import arm_differences as arm_differences
from thinktuning_lite.views.plots.beyond import gain_by_teacher as gain_by_teacher
from thinktuning_lite.views.plots.beyond import guidance_over_steps as guidance_over_steps
from thinktuning_lite.views.plots.evaluation import accuracy_by_steps as accuracy_by_steps
from thinktuning_lite.views.plots.evaluation import difference_forest as difference_forest
from thinktuning_lite.views.plots.evaluation import disagreement as disagreement
from thinktuning_lite.views.plots.evaluation import response_lengths as response_lengths
from thinktuning_lite.views.plots.evaluation import run_intervals as run_intervals
from thinktuning_lite.views.plots.evaluation import transition_bars as transition_bars
from thinktuning_lite.views.plots.groups import advantage_by_rightness as advantage_by_rightness
from thinktuning_lite.views.plots.groups import clip_objective as clip_objective
from thinktuning_lite.views.plots.groups import group_bars as group_bars
from thinktuning_lite.views.plots.groups import kl_estimators as kl_estimators
from thinktuning_lite.views.plots.guidance import advantages_by_teacher as advantages_by_teacher
from thinktuning_lite.views.plots.guidance import idea as idea
from thinktuning_lite.views.plots.guidance import schedules as schedules
from thinktuning_lite.views.plots.memory import memory_bars as memory_bars
from thinktuning_lite.views.plots.quote import arms_over_steps as arms_over_steps
from thinktuning_lite.views.plots.quote import panels_over_steps as panels_over_steps
from thinktuning_lite.views.plots.shaping import bandit_curves as bandit_curves
from thinktuning_lite.views.plots.shaping import break_even_curves as break_even_curves
from thinktuning_lite.views.plots.shaping import taught_tokens as taught_tokens
from thinktuning_lite.views.plots.shaping import weight_curves as weight_curves
from thinktuning_lite.views.plots.style import BLUE as BLUE
from thinktuning_lite.views.plots.style import CYCLE as CYCLE
from thinktuning_lite.views.plots.style import DASHES as DASHES
from thinktuning_lite.views.plots.style import GREEN as GREEN
from thinktuning_lite.views.plots.style import GREY as GREY
from thinktuning_lite.views.plots.style import ORANGE as ORANGE
from thinktuning_lite.views.plots.style import PURPLE as PURPLE
from thinktuning_lite.views.plots.style import SKY as SKY
from thinktuning_lite.views.plots.style import STUDENT_COLOUR as STUDENT_COLOUR
from thinktuning_lite.views.plots.style import TEACHER_COLOUR as TEACHER_COLOUR
from thinktuning_lite.views.plots.style import DescribedFigure as DescribedFigure
from thinktuning_lite.views.plots.tokens import inspector_figure as inspector_figure
from thinktuning_lite.views.plots.tokens import log_probability_strip as log_probability_strip
from thinktuning_lite.views.plots.tokens import token_strip as token_strip
from thinktuning_lite.views.plots.training import advantages_by_author as advantages_by_author
from thinktuning_lite.views.plots.training import learning_curves as learning_curves
from thinktuning_lite.views.plots.training import length_drift as length_drift
from thinktuning_lite.views.plots.training import live_figure as live_figure
from thinktuning_lite.views.plots.training import reward_and_accuracy as reward_and_accuracy
from thinktuning_lite.views.plots.training import sample_curves as sample_curves
