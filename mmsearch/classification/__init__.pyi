from .by_examples import FewShot as FewShot, few_shot as few_shot
from .by_words import ZeroShot as ZeroShot, zero_shot as zero_shot
from .choices import Features as Features, Find as Find
from .clusters import Cluster as Cluster, cluster as cluster, named as named
from .examples import (
    Examples as Examples,
    read_examples as read_examples,
    where_examples as where_examples,
)
from .labels import (
    TEMPLATES as TEMPLATES,
    common_words as common_words,
    read_labels as read_labels,
)
from .layout import places_of as places_of
from .report import (
    NONE as NONE,
    Decided as Decided,
    Report as Report,
    decide as decide,
    report_of as report_of,
)
from .things import Things as Things, gather as gather
