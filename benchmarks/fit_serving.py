"""Learn the constants that `cloudbandit predict` uses: ``data/serving/constants.json``, from ``data/silicon-points``.

python benchmarks/fit_serving.py
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from cloudbandit.surrogate.training import train, training_points

OUT = Path(__file__).parent.parent / "data" / "serving" / "constants.json"


def main() -> None:
    points = training_points()
    began = time.process_time()
    serving = train(points)
    OUT.parent.mkdir(exist_ok=True)
    source = "benchmarks/fit_serving.py on data/silicon-points (Apache-2.0; its README names the source)"
    data = {"source": source, "points": len(points), **serving.to_dict()}
    OUT.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{OUT}: {len(points)} points, {time.process_time() - began:.1f} s of processor time")


if __name__ == "__main__":
    main()
