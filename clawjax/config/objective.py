"""Knobs of the objective: which signals are learnt from, and how.

Invariant: what is named is what runs; settings that contradict each other are refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clawjax.config.checks import at_least, finite, require, within
from clawjax.config.crediting import CreditConfig
from clawjax.config.practising import PracticeConfig
from clawjax.config.stepping import StepScheme, StepsConfig
from clawjax.config.teaching import DpoConfig, OpdConfig, OpdForm

__all__ = [
    "AGAINST_ITSELF",
    "GROUPED",
    "USES_PROXIMAL",
    "Baseline",
    "KlEstimator",
    "Normalisation",
    "ObjectiveConfig",
    "OffPolicyConfig",
    "OffPolicyPreset",
    "PolicyLoss",
]


class Baseline(StrEnum):
    """What a score is compared with. Groups are replies to the same prompt."""

    none = "none"
    batch_mean = "batch_mean"
    """Mean of the batch's scores."""
    leave_one_out = "leave_one_out"
    """Mean of the other scores in the batch."""
    ema = "ema"
    """Exponential moving average of the same user's past scores."""
    whiten = "whiten"
    """The batch's mean and standard deviation."""
    grpo = "grpo"
    """The group's mean and standard deviation."""
    dr_grpo = "dr_grpo"
    """The group's mean."""
    rloo = "rloo"
    """The mean of the group's other scores."""
    reinforce_pp = "reinforce_pp"
    """The group's mean, then the batch's mean and standard deviation."""


GROUPED = (Baseline.grpo, Baseline.dr_grpo, Baseline.rloo, Baseline.reinforce_pp)
"""Baselines of the replies to one prompt."""


class Normalisation(StrEnum):
    """What a token counts for in a term of the loss."""

    turn_mean = "turn_mean"
    """Every turn the same, shared equally among its tokens."""
    token_mean = "token_mean"  # noqa: S105 - of a text
    """Every token the same."""
    constant = "constant"
    """Every token the same, a turn of `constant_tokens` counting as one turn, whatever the
    lengths in the batch."""
    turn_sum = "turn_sum"
    """Every token in full, so that a turn counts by the log-prob of the whole of it."""


class PolicyLoss(StrEnum):
    """What becomes of advantages."""

    clipped = "clipped"
    """PPO's clipped surrogate, asymmetric as in DAPO."""
    gspo = "gspo"
    """The same with one ratio per turn."""
    cispo = "cispo"
    """The ratio is clipped, no token is."""
    reinforce = "reinforce"
    """No ratio; combine with an off-policy preset that weighs, or with objective `dpo`."""
    sft = "sft"
    """Cross-entropy of praised replies; scores decide which those are, and nothing else."""


class OffPolicyPreset(StrEnum):
    """How the distance between the sampler and the policy is corrected."""

    none = "none"
    """By the loss's own ratio against the sampler."""
    tis = "tis"
    """Truncated importance weights per token."""
    seq_mask = "seq_mask"
    """Turns whose sequence ratio is out of bounds are left out."""
    geo_mask = "geo_mask"
    """The same by the geometric mean over the turn."""
    icepop = "icepop"
    """Tokens out of bounds are left out, the others weighed."""
    decoupled = "decoupled"
    """Truncated weights against the sampler; the clip bounds the step alone. In an update
    of one step the same as `tis`."""


class KlEstimator(StrEnum):
    """How the KL to the base is estimated from the sampled tokens."""

    k1 = "k1"
    """The log-ratio, as a penalty on the reward."""
    k2 = "k2"
    """Half its square."""
    k3 = "k3"
    """Non-negative, unbiased in value."""


@dataclass
class OffPolicyConfig:
    """Answers to samples that are not quite the policy's own."""

    preset: OffPolicyPreset = OffPolicyPreset.none
    cap: float = 2.0
    """Of the weights of `tis` and `decoupled`, and of tokens whose distribution was cut."""
    low: float = 0.5
    """The lowest ratio that `seq_mask`, `geo_mask` and `icepop` keep."""
    high: float = 2.0
    """The highest ratio that they keep."""

    def __post_init__(self) -> None:
        """Reject bounds that keep nothing."""
        at_least("objective.off_policy.cap", self.cap, 1.0)
        require(
            0 <= self.low < 1 < self.high,
            f"objective.off_policy.low={self.low} and objective.off_policy.high={self.high} keep "
            "ratios between them, which leaves out 1, where sampler and policy agree: choose "
            "0 <= low < 1 < high",
        )


AGAINST_ITSELF = (OffPolicyPreset.tis, OffPolicyPreset.icepop, OffPolicyPreset.decoupled)
"""Presets whose loss takes its ratio against the policy of the same update and not the sampler,
and which weigh instead: in an update of one step that ratio is 1."""

USES_PROXIMAL = (
    OffPolicyPreset.seq_mask,
    OffPolicyPreset.geo_mask,
    OffPolicyPreset.icepop,
    OffPolicyPreset.decoupled,
)
"""Presets that ask for the policy at an update's start."""

_TERMS = {
    "binary_rl": (True, False),
    "sft": (True, False),
    "dpo": (True, False),
    "opd": (False, True),
    "combined": (True, True),
}
"""Whether an objective learns from scores, and from hints."""


@dataclass
class ObjectiveConfig:
    """What is maximised."""

    name: str = "binary_rl"
    """`binary_rl` learns from scores, `opd` from hints, `combined` from both; `sft` imitates the
    replies that were praised, `dpo` prefers the better of two replies to the same prompt."""
    w_rl: float = 1.0
    """Weight of the scores' term."""
    w_opd: float = 0.0
    """Weight of the hints' term."""
    policy_loss: PolicyLoss = PolicyLoss.clipped
    normalisation: Normalisation = Normalisation.turn_mean
    constant_tokens: int = 128
    """A turn's length under the normalisation `constant`."""
    baseline: Baseline = Baseline.ema
    ema_decay: float = 0.9
    """Per batch, of each user's average."""
    deviation_floor: float = 0.1
    """Least standard deviation that scores are divided by."""
    clip_low: float = 0.2
    clip_high: float = 0.28
    ratio_cap: float = 2.0
    """Truncation of the importance ratio, of `clipped` and `cispo`."""
    dual_clip: float | None = None
    """Bound of the loss of tokens with a negative advantage, as a ratio."""
    off_policy: OffPolicyConfig = field(default_factory=OffPolicyConfig)
    kl_coef: float = 0.02
    """Weight of the KL to the base model, per token."""
    kl_estimator: KlEstimator = KlEstimator.k3
    entropy_coef: float = 0.0
    """Weight of the policy's entropy, which is maximised, per token."""
    negative_weight: float = 1.0
    """What an advantage below 0 counts for, 0 to 1. Making a reply less likely makes all others
    more likely, sensible or not; making one more likely does not."""
    replay_praised: int = 0
    """So many earlier turns that the user praised are learnt from again with each batch. Needs a
    clip against the sampler, which leaves alone what has become likelier since."""
    opd: OpdConfig = field(default_factory=OpdConfig)
    dpo: DpoConfig = field(default_factory=DpoConfig)
    practice: PracticeConfig = field(default_factory=PracticeConfig)
    steps: StepsConfig = field(default_factory=StepsConfig)
    credit: CreditConfig = field(default_factory=CreditConfig)

    def __post_init__(self) -> None:
        """Reject objectives that cannot run as configured."""
        require(
            self.name in _TERMS,
            f"objective.name={self.name!r} is unknown: use {', '.join(_TERMS)}",
        )
        for key in ("w_rl", "w_opd", "kl_coef", "entropy_coef"):
            finite(f"objective.{key}", getattr(self, key))
        self._check_weights()
        within("objective.ema_decay", self.ema_decay, 0.0, 1.0)
        within("objective.clip_low", self.clip_low, 0.0, 1.0)
        at_least("objective.clip_high", self.clip_high, 0.0)
        at_least("objective.kl_coef", self.kl_coef, 0.0)
        at_least("objective.entropy_coef", self.entropy_coef, 0.0)
        within("objective.negative_weight", self.negative_weight, 0.0, 1.0)
        at_least("objective.constant_tokens", self.constant_tokens, 1)
        at_least("objective.replay_praised", self.replay_praised, 0)
        for key, value in (
            ("replay_praised", self.replay_praised),
            ("practice.rounds", self.practice.rounds),
        ):
            require(
                value == 0 or self.name in ("binary_rl", "combined"),
                f"objective.{key}={value} adds to the term of scores, which "
                f"objective.name={self.name} does not have: use binary_rl or combined, or 0",
            )
        require(
            not self.steps.is_on or self.name in ("binary_rl", "combined"),
            f"objective.steps.scheme={self.steps.scheme.value} credits steps by scores, which "
            f"objective.name={self.name} has no use for: use binary_rl or combined, or none",
        )
        require(
            self.deviation_floor > 0,
            f"objective.deviation_floor={self.deviation_floor} divides by 0: raise it",
        )
        self._check_dpo()
        self._check_loss()
        self._check_idle()
        require(
            self.replay_praised == 0 or self.clips_against_sampler,
            f"objective.replay_praised={self.replay_praised} leaves alone what became likelier, "
            f"but objective.policy_loss={self.policy_loss.value} with objective.off_policy.preset="
            f"{self.off_policy.preset.value} has no clip against the sampler: use clipped or gspo "
            "with none, seq_mask or geo_mask, or replay_praised=0",
        )
        at_least("objective.ratio_cap", self.ratio_cap, 1.0)
        require(
            self.policy_loss is not PolicyLoss.clipped or self.ratio_cap > 1 + self.clip_high,
            f"objective.ratio_cap={self.ratio_cap} truncates inside the clip range, or at its end, "
            f"where complaints learn by halves: set it above 1 + clip_high = {1 + self.clip_high}",
        )

    @property
    def uses_scores(self) -> bool:
        """Whether scores are learnt from."""
        return self.w_rl > 0

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher is learnt from."""
        return self.w_opd > 0

    @property
    def uses_hints(self) -> bool:
        """Whether that teacher reads hints."""
        return self.uses_teacher and self.opd.hints

    @property
    def uses_demonstrations(self) -> bool:
        """Whether that teacher reads praised exchanges."""
        return self.uses_teacher and self.opd.demonstrations > 0

    @property
    def recalls_reactions(self) -> bool:
        """Whether earlier turns matter: as examples, to learn from again, to answer again."""
        return self.uses_demonstrations or self.replay_praised > 0 or self.practice.rounds > 0

    @property
    def needs_scores(self) -> bool:
        """Whether nothing can be learnt without scores, be it only to know what was praised."""
        return self.uses_scores or (self.uses_demonstrations and not self.uses_hints)

    @property
    def is_dpo(self) -> bool:
        """Whether scores count by which of two replies has the higher one."""
        return self.name == "dpo"

    @property
    def compares_replies(self) -> bool:
        """Whether a score counts by those of other replies to the same prompt."""
        if self.is_dpo or self.credit.compares_replies:
            return True
        return self.uses_scores and self.name != "sft" and self.baseline in GROUPED

    @property
    def clips_against_sampler(self) -> bool:
        """Whether a token that has become likelier than when it was drawn is left alone."""
        is_clipped = self.policy_loss in (PolicyLoss.clipped, PolicyLoss.gspo)
        return is_clipped and self.off_policy.preset not in AGAINST_ITSELF

    def _check_dpo(self) -> None:
        """The loss of pairs comes as credit, which nothing may rescale."""
        needs = (
            ("policy_loss", self.policy_loss, PolicyLoss.reinforce),
            ("off_policy.preset", self.off_policy.preset, OffPolicyPreset.none),
            ("normalisation", self.normalisation, Normalisation.turn_sum),
        )
        for key, value, needed in needs if self.is_dpo else ():
            require(
                value is needed,
                f"objective.name=dpo compares the log-probs of whole replies as they are, but "
                f"objective.{key}={value.value}: use {needed.value}, as objective=dpo does",
            )

    def _check_loss(self) -> None:
        preset = self.off_policy.preset
        is_sft = self.policy_loss is PolicyLoss.sft
        require(
            is_sft == (self.name == "sft"),
            f"objective.name={self.name} and objective.policy_loss={self.policy_loss.value} do "
            "not go together: sft goes with sft only; use objective=sft",
        )
        require(
            not is_sft or preset is OffPolicyPreset.none,
            f"objective=sft has no ratio to correct, but objective.off_policy.preset="
            f"{preset.value}: use none",
        )
        require(
            self.is_dpo or self.policy_loss is not PolicyLoss.reinforce or preset in AGAINST_ITSELF,
            f"objective.policy_loss=reinforce has no ratio, and objective.off_policy.preset="
            f"{preset.value} corrects nothing: use one that weighs, e.g. tis, or another loss",
        )
        has_own_ratio = self.policy_loss in (PolicyLoss.gspo, PolicyLoss.cispo)
        require(
            not (has_own_ratio or self.dual_clip is not None) or preset not in AGAINST_ITSELF,
            f"objective.off_policy.preset={preset.value} leaves a ratio of 1, so that "
            f"objective.policy_loss={self.policy_loss.value} or objective.dual_clip does nothing: "
            "use preset none, seq_mask or geo_mask, or policy_loss=reinforce without dual_clip",
        )
        require(
            not self.uses_teacher or self.opd.guidance == 0 or self.opd.form is OpdForm.top_k,
            f"objective.opd.guidance={self.opd.guidance} compares several tokens of each place, "
            f"but objective.opd.form={self.opd.form.value} knows one: use top_k, or guidance=0",
        )
        if self.dual_clip is not None:
            is_used = self.policy_loss in (PolicyLoss.clipped, PolicyLoss.gspo)
            require(
                is_used and self.dual_clip > 1 + self.clip_high,
                f"objective.dual_clip={self.dual_clip} needs objective.policy_loss=clipped or "
                f"gspo, and a value above 1 + objective.clip_high = {1 + self.clip_high}",
            )
            require(
                self.policy_loss is not PolicyLoss.clipped or self.dual_clip < self.ratio_cap,
                f"objective.dual_clip={self.dual_clip} has nothing to do, as objective.ratio_cap="
                f"{self.ratio_cap} truncates the ratio before: raise ratio_cap or lower dual_clip",
            )

    def _check_idle(self) -> None:
        """Refuse settings that would change nothing."""
        idle = {
            "baseline": (self.baseline.value, Baseline.ema.value),
            "steps.scheme": (self.steps.scheme.value, StepScheme.none.value),
            "negative_weight": (self.negative_weight, 1.0),
        }
        self.credit.check_beside(self.name, idle)
        require(
            self.negative_weight == 1 or self.name in ("binary_rl", "combined"),
            f"objective.negative_weight={self.negative_weight} weighs advantages of scores, which "
            f"objective.name={self.name} does not have: use 1",
        )
        for key, value, usual in (
            ("off_policy.preset", self.off_policy.preset.value, OffPolicyPreset.none.value),
            ("policy_loss", self.policy_loss.value, PolicyLoss.clipped.value),
            ("dual_clip", self.dual_clip or "null", "null"),
        ):
            require(
                self.uses_scores or self.opd.form is OpdForm.token or value == usual,
                f"objective.opd.form=top_k has no advantages without scores, which objective."
                f"{key}={value} is for: use {usual}",
            )

    def _check_weights(self) -> None:
        terms = zip(("w_rl", "w_opd"), (self.w_rl, self.w_opd), _TERMS[self.name], strict=True)
        for key, weight, is_used in terms:
            at_least(f"objective.{key}", weight, 0.0)
            require(
                (weight > 0) == is_used,
                f"objective.name={self.name} {'needs' if is_used else 'does not use'} "
                f"objective.{key}, which is {weight:g}: "
                f"{'raise it above 0' if is_used else 'set it to 0'}, or use objective=combined",
            )
