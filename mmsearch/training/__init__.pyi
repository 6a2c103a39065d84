from .config import TrainConfig as TrainConfig
from .trainer import train as train
