"""What is compared. Read by both sides, each in its own environment, so nothing but the standard library here."""

from dataclasses import dataclass

BETA = 0.3
"""Of DPO and KTO"""
UNDESIRABLE = 1.5
"""KTO's weight of unwanted responses"""
SIMPO_BETA, GAMMA = 2.0, 1.0
"""Of SimPO"""
ODDS = 0.2
"""ORPO's weight of the odds ratio"""
SFT = 0.5
"""Weight of DPO's SFT term"""
SMOOTHING = 0.1
"""Share of labels taken to be flipped"""


@dataclass(frozen=True)
class Case:
    """One optimiser step of a TRL trainer, on the first `rows` rows."""

    name: str
    stage: str
    """sft, reward, dpo, kto, simpo or orpo"""
    title: str
    rows: int
    micro: int
    """Rows in a micro-batch"""
    margin: bool = False
    loss_type: str = "sigmoid"
    smoothing: float = 0.0
    normalised: bool = False
    """Whether log-ratios are means over tokens"""
    sft: float = 0.0
    """Weight of an SFT term"""


CASES = (
    Case("sft", "sft", "SFT, one batch of 6", 6, 6),
    Case("sft-micro", "sft", "SFT, micro-batches of 2 + 2 + 2", 6, 2),
    Case("sft-uneven", "sft", "SFT, micro-batches of 4 + 2", 6, 4),
    Case("reward", "reward", "reward, one batch of 5 pairs", 5, 5),
    Case("reward-margin", "reward", "reward, with margins", 5, 5, margin=True),
    Case("reward-even", "reward", "reward, micro-batches of 2 + 2", 4, 2),
    Case("reward-uneven", "reward", "reward, micro-batches of 2 + 2 + 1", 5, 2),
    Case("dpo", "dpo", "DPO sigmoid", 5, 5),
    Case("dpo-robust", "dpo", f"DPO robust, ε = {SMOOTHING}", 5, 5, loss_type="robust", smoothing=SMOOTHING),
    Case("dpo-ipo", "dpo", "DPO ipo", 5, 5, loss_type="ipo"),
    Case("dpo-conservative", "dpo", f"DPO sigmoid, ε = {SMOOTHING}", 5, 5, smoothing=SMOOTHING),
    Case("dpo-uneven", "dpo", "DPO sigmoid, micro-batches of 2 + 2 + 1", 5, 2),
    Case("dpo-normalised", "dpo", "DPO, length-normalised", 5, 5, loss_type="sigmoid_norm", normalised=True),
    Case("dpo-sft", "dpo", f"DPO with an SFT term of {SFT}", 5, 5, sft=SFT),
    Case("dpo-sft-one", "dpo", "the same, of one pair", 1, 1, sft=SFT),
    Case("kto", "kto", "KTO, one batch of 6", 6, 6),
    Case("kto-micro", "kto", "KTO, micro-batches of 3 + 3", 6, 3),
    Case("simpo", "simpo", "SimPO", 5, 5),
    Case("simpo-uneven", "simpo", "SimPO, micro-batches of 2 + 2 + 1", 5, 2),
    Case("orpo", "orpo", "ORPO", 5, 5),
)


@dataclass(frozen=True)
class PpoCase:
    """One update of TRL's PPO trainer."""

    name: str
    title: str
    stops: bool = True
    """Whether eos ends a response; TRL's default is that nothing does"""
    micro: int = 8
    """Responses in a micro-batch, of the 8 in the update"""
    whiten_rewards: bool = False


PPO_CASES = (
    PpoCase("ppo-full", "PPO, no response stops early", stops=False),
    PpoCase("ppo", "PPO, some responses stop early"),
    PpoCase("ppo-whiten", "PPO, rewards whitened", whiten_rewards=True),
    PpoCase("ppo-micro", "PPO, micro-batches of 4 + 4", micro=4),
)

PPO = {
    "responses": 8,
    "length": 8,
    "temperature": 0.8,
    "epochs": 3,
    "learning_rate": 1e-3,
    "kl_coef": 0.2,
    "missing_eos_penalty": 1.0,
    "clip_range": 0.2,
    "value_clip_range": 0.2,
    "value_coefficient": 0.1,
    "gamma": 1.0,
    "gae_lambda": 0.95,
}
"""Settings that both sides share; the learning rate is high so that the clips are in force in the third step."""
