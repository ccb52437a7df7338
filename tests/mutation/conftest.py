"""Puts this folder on the path, for what makes and judges mutated inputs."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
