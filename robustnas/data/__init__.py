"""Lightning data modules: images in memory, four disjoint roles, and an order of batches that resumes exactly."""

from robustnas.data.augmentation import Augmentation
from robustnas.data.batch import Batch
from robustnas.data.cluttered_digits import ClutteredDigits
from robustnas.data.digits import Digits
from robustnas.data.folder import ImageFolder
from robustnas.data.hub import HubImages
from robustnas.data.images import Images
from robustnas.data.input_spec import InputSpec
from robustnas.data.loader import TensorLoader
from robustnas.data.module import ImageData
from robustnas.data.parquet import ParquetImages
from robustnas.data.preprocess import Preprocess
from robustnas.data.probe import Probe
from robustnas.data.roles import Role

__all__ = [
    "Augmentation",
    "Batch",
    "ClutteredDigits",
    "Digits",
    "HubImages",
    "ImageData",
    "ImageFolder",
    "Images",
    "InputSpec",
    "ParquetImages",
    "Preprocess",
    "Probe",
    "Role",
    "TensorLoader",
]
