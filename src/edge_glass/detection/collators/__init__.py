"""Three collators that turn rows of pictures with boxes into batches of a Qwen-VL model, kept side by side.

| | labels | work | long rows |
|---|---|---|---|
| `Qwen2VLCollatorV1` (basic.py) | all words | one call of the processor | as they are |
| `Qwen2VLCollatorV2` (masking.py) | the answer, or all words | two calls of it | as they are |
| `Qwen2VLCollatorV3` (efficient.py) | as V2, bit for bit | each thing once | fitted or refused |

Read them in this order: each says what was wrong before it. They share `rows.py` (what a row is), `chat.py`
(the chat template), `sizes.py` (how large the model sees a picture) and `checks.py` (what must hold of every
batch). They take rows and give a plain dict of tensors, so they also work as `data_collator` of TRL's
`SFTTrainer`.
"""

from edge_glass.detection.collators.basic import Qwen2VLCollatorV1
from edge_glass.detection.collators.checks import check_detection_labels
from edge_glass.detection.collators.efficient import Qwen2VLCollatorV3
from edge_glass.detection.collators.masking import Qwen2VLCollatorV2
from edge_glass.detection.collators.prompts import prompt_batch
from edge_glass.detection.collators.rows import empty_batch
from edge_glass.detection.collators.sizes import planned_size, token_counts, token_kinds

__all__ = [
    "Qwen2VLCollatorV1",
    "Qwen2VLCollatorV2",
    "Qwen2VLCollatorV3",
    "check_detection_labels",
    "empty_batch",
    "planned_size",
    "prompt_batch",
    "token_counts",
    "token_kinds",
]
