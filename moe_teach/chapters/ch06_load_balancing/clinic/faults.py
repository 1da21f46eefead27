"""Every diagnosis of the vocabulary as a set-up that really has it."""

from moe_teach.chapters.ch06_load_balancing.clinic import layer_faults, loss_faults
from moe_teach.chapters.ch06_load_balancing.clinic.set_up import SetUp

FAULTS: dict[str, type[SetUp]] = {
    "healthy": SetUp,
    "loss-not-added": loss_faults.LossNotAdded,
    "loss-detached": loss_faults.LossDetached,
    "coefficient-too-large": loss_faults.CoefficientTooLarge,
    "k-not-divided": loss_faults.KNotDivided,
    "first-choice-only": loss_faults.FirstChoiceOnly,
    "wrong-axis": loss_faults.WrongAxis,
    "loss-reads-gates": loss_faults.LossReadsGates,
    "bias-never-moves": loss_faults.BiasNeverMoves,
    "bias-moves-backwards": loss_faults.BiasMovesBackwards,
    "constant-gate": layer_faults.ConstantGate,
    "gates-not-normalised": layer_faults.GatesNotNormalised,
    "router-cut-off": layer_faults.CutOff,
    "bias-in-gates": layer_faults.BiasInGates,
    "noise-at-evaluation": layer_faults.NoiseAtEvaluation,
    "dropout-at-evaluation": layer_faults.DropoutAtEvaluation,
    "residual-twice": layer_faults.ResidualTwice,
    "unasked-shared-expert": layer_faults.UnaskedSharedExpert,
    "capacity-at-evaluation": layer_faults.CapacityAtEvaluation,
    "experts-choose": layer_faults.ExpertsChoose,
}
