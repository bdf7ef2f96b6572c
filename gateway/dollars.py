"""Money as text. It is counted in whole nano-dollars everywhere; only people and headers see dollars."""

from __future__ import annotations


def usd(nanousd: int) -> str:
    """Return nano-dollars, at least 0, as a decimal string of dollars, exactly."""
    if nanousd == 0:  # of every hit
        return "0.000000000"
    digits = str(nanousd)
    if len(digits) < 10:
        digits = digits.zfill(10)
    return digits[:-9] + "." + digits[-9:]
