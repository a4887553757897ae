"""What a family of vision-language models is to this package; each is one file in `edge_glass/vlm/families/`.

To add one, write `families/MODEL_TYPE.py` that defines `FAMILY`, a `Family`: names of classes and tokens, the
paths of the model's parts, and how its boxes are written are data; how toys of it are built is code. Nothing
heavy may be imported at the top of such a file: the check of an experiment file reads it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from edge_glass.config.sections.detection import FAMILIES
from edge_glass.core.errors import ConfigError

if TYPE_CHECKING:
    from edge_glass.config.sections.detection import VlmSizeConfig

COMPONENTS: Final = ("vision", "projector", "llm", "head")


class SeenSize(NamedTuple):
    """A picture's size in pixels as the model receives it."""

    width: int
    height: int


@dataclass(frozen=True)
class Grammar:
    """How boxes are spelled in an answer.

    Attributes:
        key: The key of the four numbers in JSON; their name stands under `label`.
        name_marks: The special tokens before and after the name of a box, for `box_format: tokens`.
        box_marks: The special tokens before and after its numbers.
        numbers: The numbers between these, with four places.
        nothing: The answer in special tokens where there is no box.
        ends: Tokens at which an answer is over; what follows them is not read.
    """

    key: str = "bbox_2d"
    name_marks: tuple[str, str] = ("<|object_ref_start|>", "<|object_ref_end|>")
    box_marks: tuple[str, str] = ("<|box_start|>", "<|box_end|>")
    numbers: str = "({},{}),({},{})"
    nothing: str = "none"
    ends: tuple[str, ...] = ("<|im_end|>", "<|endoftext|>")


@dataclass(frozen=True)
class Convention:
    """What the numbers of a box mean.

    Attributes:
        order: The order of the corners' numbers: x1 y1 x2 y2, or y1 x1 y2 x2.
        range: The number at the right and the lower border of the picture; None: the numbers are pixels of
            the picture as the model sees it.
        rounding: `nearest`, or `floor`: the numbers count bins, from 0 to range - 1.
        grammar: How they are spelled.
    """

    order: Literal["xyxy", "yxyx"] = "xyxy"
    range: int | None = 1000
    rounding: Literal["nearest", "floor"] = "nearest"
    grammar: Grammar = Grammar()

    @property
    def coordinates(self) -> str:
        """Say what the numbers are; kept with a trained model."""
        if self.range is None:
            return "pixels of the resized picture"
        if self.rounding == "floor":
            return f"one of {self.range} bins of the picture"
        return "thousandths of the picture" if self.range == 1000 else f"0 to {self.range} of the picture"

    @property
    def corners(self) -> str:
        """Say in which order they stand; kept with a trained model."""
        return ", ".join(f"{axis}{1 + place // 2}" for place, axis in enumerate(self.order))


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """A family of vision-language models.

    Attributes:
        model_type: `config.model_type` of its models; the name of its file.
        config_class: Name in transformers of its configuration.
        model_class: Name of its models.
        processor_class: Name of its processors.
        token_side: Pixels along one picture token; the sides of every seen picture are multiples of it.
        boxes: How it writes boxes.
        end_of_turn: Token that ends an answer.
        picture_tokens: Tokens that stand for pictures or around them; the model never writes them.
        components: Component → paths of its modules in memory. Where one lies within another, as the
            projector of Qwen's models within the vision tower, the inner one stands first.
        template_options: Given to the chat template, such as `enable_thinking`.
    """

    model_type: str
    config_class: str
    model_class: str
    processor_class: str
    token_side: int
    boxes: Convention
    end_of_turn: str
    picture_tokens: tuple[str, ...]
    components: Mapping[str, tuple[str, ...]]
    template_options: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def build_processor(self, min_pixels: int = 56 * 56, max_pixels: int = 1280 * 28 * 28) -> Any:
        """Build a processor that needs no download: pictures and chat as the family's, a small tokenizer.

        Args:
            min_pixels: Pictures with fewer pixels (an area) are enlarged.
            max_pixels: Pictures with more are shrunk.
        """

    @abstractmethod
    def build_model(
        self, size: VlmSizeConfig, processor: Any, seed: int, dtype: Any = None, attention: str = "sdpa"
    ) -> Any:
        """Build a model with random weights: a pure function of the arguments.

        Args:
            size: Widths, layers and heads.
            processor: Of `build_processor`; gives vocabulary and special tokens.
            seed: Of the weights.
            dtype: Of the weights; default float32.
            attention: sdpa, eager or flash_attention_2.

        Raises:
            ConfigError: Heads do not fit a width.
        """

    @abstractmethod
    def resized(self, width: int, height: int, min_pixels: int, max_pixels: int, side: int) -> SeenSize:
        """Return the size at which the model receives a picture, by the processor's own rule.

        Args:
            width: Of the upright picture.
            height: Of the upright picture.
            min_pixels: Least area.
            max_pixels: Largest area.
            side: Pixels along one picture token of this processor.

        Raises:
            ValueError: The processor refuses pictures of this shape.
        """

    def component_of(self, name: str) -> str:
        """Return the component of a parameter or module: vision, projector, llm or head.

        Names of adapters, of wrapped models and of the library's inner model alone are understood.

        Raises:
            ConfigError: It belongs to none.
        """
        for component, paths in self.components.items():
            if any(f".{path.removeprefix('model.')}." in f".{name}." for path in paths):
                return component
        known = ", ".join(path for paths in self.components.values() for path in paths)
        raise ConfigError(
            f"{name} belongs to no component of a {self.model_type}: expected one of {known} in it"
        )

    def modules_of(self, model: Any, component: str) -> list[Any]:
        """Return the modules of a component of a model, those of its paths that it has."""
        found = []
        for path in self.components[component]:
            parent, _, last = path.rpartition(".")
            if hasattr(model.get_submodule(parent), last):
                found.append(model.get_submodule(path))
        return found


def load_family(name: str) -> Family:
    """Return the family of this name (`vlm.family`).

    Raises:
        ConfigError: There is none; those that there are get named.
    """
    if name not in FAMILIES.names():
        raise ConfigError(f"vlm.family: expected one of {', '.join(FAMILIES.names())}; got {name!r}")
    family: Family = FAMILIES.load(name).FAMILY
    return family


def family_of(processor: Any) -> Family:
    """Return the family whose class a processor is of.

    Raises:
        ConfigError: There is none.
    """
    classes = [known.__name__ for known in type(processor).__mro__]
    for family in map(load_family, FAMILIES.names()):
        if family.processor_class in classes:
            return family
    raise ConfigError(
        f"expected a processor of one of the families {', '.join(FAMILIES.names())}; got a {classes[0]}"
    )


def build_processor(family: str, min_pixels: int = 56 * 56, max_pixels: int = 1280 * 28 * 28) -> Any:
    """Build a family's processor without a download; see `Family.build_processor`."""
    return load_family(family).build_processor(min_pixels, max_pixels)


def build_vlm(
    family: str, size: VlmSizeConfig, processor: Any, seed: int, dtype: Any = None, attention: str = "sdpa"
) -> Any:
    """Build a family's model with random weights; see `Family.build_model`."""
    return load_family(family).build_model(size, processor, seed, dtype, attention)
