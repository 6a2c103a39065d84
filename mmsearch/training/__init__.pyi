from .config import TrainConfig as TrainConfig
from .trainer import steps as steps, train as train
