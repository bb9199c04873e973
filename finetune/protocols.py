"""How pictures are prepared and split: carefully, as the Chainer tutorial did, or as it meant to.

careful         the trunk's channel order and mean; a split by class that keeps near-duplicates together
tutorial        RGB fed to a net for BGR, as Pillow reads it; the mean pixel of the training pictures, divided by the
                number of all, so too dark; validation pictures mirrored at random; a split at random
tutorial-fixed  the same with the trunk's channel order, the true mean and validation pictures as they are
"""

from __future__ import annotations

from dataclasses import replace

from caffe2torch.errors import CaffeError
from caffe2torch.preprocess import Preprocessing
from finetune.data.sets import Sets
from finetune.models.trunk import with_mean


def preprocessing_of(protocol: str, trunk: Preprocessing, sets: Sets) -> tuple[Preprocessing, str]:
    """What pictures go through under ``protocol``, and in words where its mean comes from.

    Raises CaffeError for a tutorial's protocol with a trunk of grey pictures.
    """
    if protocol == "careful":
        known = trunk.mean is not None
        source = "of the trunk" if known else "of the training pictures (the trunk's is not known)"
        return with_mean(trunk, sets.mean), source
    if trunk.channels != 3:
        raise CaffeError(
            f"--protocol {protocol} is for trunks of coloured pictures; this one takes {trunk.channel_order}"
        )
    true = with_mean(replace(trunk, mean=None), sets.mean)
    if protocol == "tutorial-fixed":
        return true, "of the training pictures"
    share = len(sets.train) / (len(sets.train) + len(sets.validation))
    red, green, blue = (share * value for value in sets.mean)
    swapped = "RGB" if trunk.channel_order == "BGR" else "BGR"
    mean = (red, green, blue) if swapped == "RGB" else (blue, green, red)
    about = f"{share:.2f} of the training pictures'; and the trunk takes {trunk.channel_order}: the tutorial's flaws"
    return replace(trunk, channel_order=swapped, mean=mean), about
