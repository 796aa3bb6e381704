"""The nine shapes of completion times that schedules are judged by, each scaled to a median."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_ERF = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True)
class Shape:
    """A distribution of completion times in multiples of a scale; `modes` counts its humps."""

    name: str
    modes: int
    cdf: Callable[[Array], Array]
    sample: Callable[[int, np.random.Generator], Array]

    def finished(self, ages: Array, median: float) -> Array:
        """The share finished by these ages in seconds."""
        scaled = np.maximum(np.asarray(ages, dtype=np.float64) / median, 1e-12)
        return np.where(np.asarray(ages) > 0, self.cdf(scaled), 0.0)

    def times(self, median: float, count: int, rng: np.random.Generator) -> Array:
        """So many completion times in seconds."""
        return median * self.sample(count, rng)


def lognormal(spread: float) -> Shape:
    """Median one."""
    return Shape(
        f"lognormal s={spread:g}",
        1,
        lambda ages: _normal(np.log(ages) / spread),
        lambda count, rng: np.exp(spread * rng.standard_normal(count)),
    )


def weibull(power: float) -> Shape:
    """Median one; a power of one is the exponential."""
    scale = math.log(2) ** (-1 / power)
    return Shape(
        f"Weibull k={power:g}",
        1,
        lambda ages: -np.expm1(-((ages / scale) ** power)),
        lambda count, rng: scale * rng.weibull(power, count),
    )


def lomax(power: float) -> Shape:
    """Median one, with a tail so heavy that the variance is infinite below a power of two."""
    scale = 1 / (2 ** (1 / power) - 1)
    return Shape(
        f"Lomax {power:g}",
        1,
        lambda ages: 1 - (1 + ages / scale) ** -power,
        lambda count, rng: scale * rng.pareto(power, count),
    )


def bimodal(near: float, factor: float, spread: float = 0.3) -> Shape:
    """A share `near` around one, the rest `factor` times later: orders that wait for a person, say."""

    def sample(count: int, rng: np.random.Generator) -> Array:
        scale = np.where(rng.random(count) < near, 1.0, factor)
        return scale * np.exp(spread * rng.standard_normal(count))

    return Shape(
        f"bimodal {near:.0%} {factor:g}x",
        2,
        lambda ages: near * _normal(np.log(ages) / spread) + (1 - near) * _normal(np.log(ages / factor) / spread),
        sample,
    )


def _normal(z: Array) -> Array:
    return np.asarray((1 + _ERF(z / math.sqrt(2))) / 2)


SHAPES = (
    lognormal(0.5),
    lognormal(1.0),
    lognormal(1.5),
    weibull(0.5),
    weibull(1.0),
    weibull(2.0),
    lomax(1.5),
    bimodal(0.80, 60),
    bimodal(0.95, 500),
)
