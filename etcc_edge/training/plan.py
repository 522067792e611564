"""What a training is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from etcc_edge.errors import EtccError
from etcc_edge.flows.truth import LabelledFlows
from etcc_edge.training.networks import least_inputs
from etcc_edge.training.recipes import RECIPES
from etcc_edge.training.splits import Split, split

METHOD_CITATION = (
    "Li, Lu: ETCC: Encrypted Two-Label Classification Using CNN. Security and Communication Networks 2021, 6633250."
)


# What is trained on where nothing else is asked for, by dialect: the ISCX 2016 time files hold no other features.
_TIME_FLOWS = ("iscx2016-time", "iscx2016-time-shifted")


@dataclass(frozen=True)
class Usual:
    """What flows of a dialect are trained with: a preset of features, and the flow timeout for the record, seconds."""

    features: str = "paper"
    timeout_s: float = 120.0

    @classmethod
    def of(cls, dialect: str) -> Usual:
        return cls("time", 15.0) if dialect in _TIME_FLOWS else cls()


@dataclass(frozen=True)
class Plan:
    name: str
    recipe: str = "default"
    network: str = "cnn"
    applications: str = "services"  # every application, and services by rule; all and paper: without rule, on all flows
    split: str = "random"
    test_share: float = 0.2
    fold: int = 0  # of a split by session: which of its folds tests
    validation: str | None = None  # how the flows that fit confidences and thresholds are split off; None: as test
    cross_fit: bool = False  # fit confidences on all sessions but those that test, each left out in turn
    leave_one_out: bool = False  # train stage 1 without each protocol in turn, to see how unknown ones are met
    seed: int = 0
    timeout_s: float = 120.0  # of the flows
    view: str = ""  # where the flows were captured, one of `VIEWS`; empty: not stated
    citations: tuple[str, ...] = (METHOD_CITATION,)  # that whoever uses the flows or the bundle owes
    license: str = "not stated"  # of the weights
    command: str = ""  # that reproduces the bundle, for the card

    @property
    def validates_by_session(self) -> bool:
        """Whether whole sessions fit confidences and thresholds."""
        return (self.validation or self.split) == "session"


def parts_of(flows: LabelledFlows, plan: Plan) -> Split:
    """Which flows train, validate and test by the plan."""
    share = RECIPES[plan.recipe].validation_share
    return split(flows, plan.split, plan.seed, share, plan.validation, plan.test_share, plan.fold)


def check_feature_count(plan: Plan, count: int) -> None:
    """Raises EtccError where the plan's networks are wider than that many features."""
    least = least_inputs(RECIPES[plan.recipe].networks[plan.network])
    if count < least:
        raise EtccError(
            f"recipe {plan.recipe} with {plan.network} networks needs at least {least} features that vary, and there "
            f"are {count}; name more with --features, or take recipe default"
        )


def check_plan(plan: Plan) -> None:
    """Raises EtccError where the plan's recipe cannot do what it asks for, or no bundle can hold its texts."""
    recipe = RECIPES[plan.recipe]
    if plan.network not in recipe.networks:
        raise EtccError(f"recipe {plan.recipe} has no {plan.network} networks, only {', '.join(recipe.networks)}")
    if not recipe.validation_share and (plan.leave_one_out or plan.validation):
        use = "leaving protocols out needs" if plan.leave_one_out else "could be split off in another way"
        raise EtccError(f"recipe {plan.recipe} keeps no validation flows, which {use}")
    if plan.cross_fit and plan.split != "session":
        raise EtccError("confidences are fitted on sessions left out in turn, which needs a split by session")
    for text in (plan.name, plan.license, *plan.citations):
        if not text.isprintable():
            raise EtccError(f"{text!r} holds a character that cannot be printed, so no bundle can hold it")
