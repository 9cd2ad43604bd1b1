"""Models served for other programs: who may ask, who answers, and what was asked."""
