"""Draw results/ratios.json, how many times faster ours is than each peer: python benchmarks/plot_ratios.py"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from golf_nb_utils.show.plots import GREEN, GREY, RUST

HERE = Path(__file__).resolve().parent


def main() -> None:
    rows = json.loads((HERE / "results" / "ratios.json").read_text(encoding="utf-8"))
    names = [f"{row['what']}\nbeside {row['peer']}" for row in rows]
    ratios = [row["ratio"] for row in rows]
    figure = Figure(figsize=(9, 0.9 + 0.62 * len(rows)), layout="constrained")
    axis = figure.subplots()
    axis.spines[["top", "right"]].set_visible(False)
    # From the line of equal speed, since a logarithmic axis has no zero to begin at.
    bars = axis.barh(
        names,
        [ratio - 1 for ratio in ratios],
        left=1,
        color=[GREEN if ratio >= 1 else RUST for ratio in ratios],
    )
    axis.bar_label(bars, [f"{ratio:.2g} x" for ratio in ratios], padding=4)
    axis.axvline(1, color=GREY, linewidth=1)
    axis.invert_yaxis()
    axis.set(
        xscale="log",
        xlim=(0.5 * min(ratios), 1.6 * max(ratios)),
        xlabel="times faster than the peer (logarithmic; left of the line: slower)",
    )
    axis.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axis.minorticks_off()
    target = HERE.parent / "docs" / "images" / "benchmark_ratios.png"
    figure.savefig(target, dpi=110)
    print(target.relative_to(HERE.parent))


if __name__ == "__main__":
    main()
