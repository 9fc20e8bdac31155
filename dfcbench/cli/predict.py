"""``dfcbench predict``: what a run learned maps a whole scene."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dfcbench.cli.app import app, reported
from dfcbench.cli.console import Terminal
from dfcbench.cli.options import (
    SUBMISSIONS,
    DataOption,
    MethodsDirOption,
    SubmissionsOption,
    open_archive,
    open_registry,
)
from dfcbench.errors import UsageError

if TYPE_CHECKING:
    from dfcbench.blending import Tiling
    from dfcbench.fitted import Fitted
    from dfcbench.mapping import Mapped
    from dfcbench.scene import Scene

EXAMPLES = """Examples:

  dfcbench predict unet --s2 scene-s2.tif -o map.tif

  dfcbench predict submissions/track1/random-forest/test-dfc2020-seed0-1a2b3c4d --s1 s1.tif --s2 s2.tif -o map.tif

  dfcbench predict bag --fit --s1 s1.tif --s2 s2.tif --lr modis-igbp.tif -o map.tif

Sentinel-1: VV and VH in dB. Sentinel-2: 13 bands of Level-1C, reflectance x 10000, B1 to B8, B8A, B9 to B12. Labels: IGBP
classes 1 to 17 (0, 18, 254 and 255: no label), 1 band, or the first of 4 as in SEN12MS. All files on one grid, of pixels
of about 10 m. Methods that are fitted on the images that they map (transductive) need --fit.

What a run learned is kept as Python pickles: map with runs of your own, or of people whom you trust.
"""


@app.command(epilog=EXAMPLES)
@reported
def predict(
    run: Annotated[str, typer.Argument(help="A finished run: its folder, name or key, or a method with a single run.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The map to write: a cloud-optimised GeoTIFF.")],
    s1: Annotated[Path | None, typer.Option("--s1", help="Sentinel-1 of the scene, if the method needs it.")] = None,
    s2: Annotated[Path | None, typer.Option("--s2", help="Sentinel-2 of the scene, if the method needs it.")] = None,
    low: Annotated[
        Path | None,
        typer.Option("--lr", help="Low-resolution labels of the scene in IGBP classes: 1 band, or the first of 4."),
    ] = None,
    window: Annotated[int, typer.Option("--window", help="Side of the windows in pixels; patches have 256.")] = 256,
    overlap: Annotated[int, typer.Option("--overlap", help="Pixels that neighbouring windows share.")] = 64,
    fit: Annotated[
        bool, typer.Option("--fit", help="Fit the method anew, on the scene; for transductive methods.")
    ] = False,
    data: DataOption = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads over windows. Default: one per core.")
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="Where a plug-in's file lies now, as path.py:Class.")
    ] = None,
    submissions: SubmissionsOption = SUBMISSIONS,
    methods_dir: MethodsDirOption = None,
) -> None:
    """Map a whole scene with what a run learned: any size, window by window, in constant memory."""
    from dfcbench.blending import Tiling
    from dfcbench.cli.run import cores
    from dfcbench.fitted import NoParts, fit_anew, recall, require_fittable, restore
    from dfcbench.machine import resolve_device
    from dfcbench.mapping import check_output, map_scene, training_windows, workplace
    from dfcbench.method import RunContext
    from dfcbench.scene import Scene
    from dfcbench.selection import choose_one

    terminal = Terminal()
    tiling = Tiling(window, overlap)
    given = {role: path for role, path in (("s1", s1), ("s2", s2), ("low", low)) if path is not None}
    check_output(out, list(given.values()))
    registry = open_registry(methods_dir)
    fitted = recall(choose_one(run, submissions), registry, method)
    if fit:
        require_fittable(fitted, registry)
    else:
        restore(fitted, registry)
    files = _needed(fitted, given, fit, terminal)
    scene = Scene.open(files)
    for remark in scene.remarks:
        terminal.note(f"warning: {remark}")
    _tell(fitted, scene, tiling, terminal)
    try:
        with workplace(out) as scratch, terminal.progress():
            context = RunContext(
                seed=fitted.submission.meta["seed"],
                device=resolve_device(device),
                workers=workers or cores(),
                scratch=scratch / "run",
                reporter=terminal,
                parts=NoParts(fitted, registry),
            )
            if fit:
                from dfcbench.contest import FusionContest

                meta = fitted.submission.meta
                contest = FusionContest(open_archive(data, terminal), meta["track"], meta["split"])
                windows = training_windows(scene, tiling, scratch, terminal.advance, terminal.note)
                fit_anew(fitted, contest, windows, context)
            mapped = map_scene(fitted, scene, out, tiling, context, scratch, terminal.advance)
    except KeyboardInterrupt:
        typer.echo(f"interrupted. {out} was not written.", err=True)
        raise typer.Exit(130) from None
    _show(out, scene, mapped, terminal)


def _needed(fitted: Fitted, given: dict[str, Path], fit: bool, terminal: Terminal) -> dict[str, Path]:
    """The files that the method may read. Raises UsageError if one is missing that it needs for certain."""
    from dfcbench.scene import OPTIONS
    from dfcbench.scene_checks import NAMES

    needed = set(fitted.needs.inputs)
    if "low" in fitted.shown and (fit or not needed):
        needed.add("low")
    if missing := [role for role in OPTIONS if role in needed and role not in given]:
        words = " and ".join(f"{OPTIONS[role]} FILE.tif ({NAMES[role]})" for role in missing)
        raise UsageError(f"{fitted.method.name} needs {words} of the scene. Add it.")
    for role in given.keys() - fitted.shown:
        terminal.note(f"{fitted.method.name} does not read {NAMES[role]}; {given[role]} is left aside.")
    return {role: path for role, path in given.items() if role in fitted.shown}


def _tell(fitted: Fitted, scene: Scene, tiling: Tiling, terminal: Terminal) -> None:
    crs = scene.georeference.crs_name or ("no coordinate system" if scene.georeference.crs is None else "own grid")
    terminal.note(f"  method  {fitted.method.name} {fitted.method.version}, run {fitted.submission.folder}")
    terminal.note(f"   scene  {scene.height} x {scene.width} pixels (height x width), {crs}")
    terminal.note(f" windows  {tiling.window} x {tiling.window} pixels, {tiling.overlap} shared")


def _show(out: Path, scene: Scene, mapped: Mapped, terminal: Terminal) -> None:
    from tabulate import tabulate

    from dfcbench.scheme import NAMES, NO_LABEL

    labelled = int(mapped.counts.sum() - mapped.counts[NO_LABEL])
    rows = [
        [name, f"{mapped.counts[code]:,}", f"{100 * mapped.counts[code] / labelled:.2f}"]
        for code, name in NAMES.items()
        if mapped.counts[code]
    ]
    if rows:
        typer.echo(tabulate(rows, ["class", "pixels", "%"], colalign=("left", "right", "right"), disable_numparse=True))
    if empty := int(mapped.counts[NO_LABEL]):
        typer.echo(f"No data, or no label: {empty:,} of {scene.width * scene.height:,} pixels.")
    for path in mapped.empty:
        terminal.note(f"warning: {path}: has no {'labels' if path == scene.files.get('low') else 'data'} anywhere.")
    if not mapped.predicted:
        terminal.note("warning: the map is empty: no pixel has data in all images that the method reads.")
    typer.echo(f"Map: {out} ({mapped.predicted} of {mapped.windows} windows had data)")
    typer.echo(f"It is a GeoTIFF in the classes' colours, for a GIS such as QGIS, or: rio info {shlex.quote(str(out))}")
