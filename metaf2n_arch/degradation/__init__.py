"""Random degradations (floor 1): the configuration, one draw of it, and its application to images."""

from metaf2n_arch.degradation.apply import apply, apply_batch
from metaf2n_arch.degradation.config import DegradationConfig, Stage2Config, StageConfig
from metaf2n_arch.degradation.params import DegradationParams, NoiseParams, StageParams

__all__ = [
    'DegradationConfig',
    'DegradationParams',
    'NoiseParams',
    'Stage2Config',
    'StageConfig',
    'StageParams',
    'apply',
    'apply_batch',
]
