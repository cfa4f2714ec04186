"""What the algorithms need to know of the two float formats."""

from __future__ import annotations

from dataclasses import dataclass

from graphc.ir.dtypes import DType, float32, float64


@dataclass(frozen=True)
class Format:
    """One IEEE format, and ln 2 in two parts of it."""

    mantissa: int
    """Stored bits of the significand."""
    bias: int
    ln2_high: float
    """Has so few bits that its product with any exponent is exact."""
    ln2_low: float

    @property
    def shifter(self) -> float:
        """Added to a small number, rounds it to an integer and leaves that in the low bits."""
        return 1.5 * 2.0**self.mantissa

    @property
    def shifter_bits(self) -> int:
        """The bits of ``shifter``, to make a float of a small integer without a conversion."""
        return (self.bias + self.mantissa << self.mantissa) | (1 << (self.mantissa - 1))

    @property
    def mantissa_mask(self) -> int:
        return (1 << self.mantissa) - 1

    @property
    def exponent_mask(self) -> int:
        return (2 * self.bias + 1) << self.mantissa

    @property
    def three_quarters(self) -> int:
        """The bits of 3/4."""
        return (self.bias - 1 << self.mantissa) | (1 << self.mantissa - 1)

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    @property
    def negligible(self) -> float:
        """Below this, x**2 is lost beside x."""
        return 2.0 ** -(self.mantissa + 2)


FORMATS: dict[DType, Format] = {
    float32: Format(23, 127, 0.693145751953125, 1.428606765330187e-06),
    float64: Format(52, 1023, 0.6931471803691238, 1.9082149292705877e-10),
}
