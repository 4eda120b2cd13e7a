"""The ``gansweep`` command. Commands import what they need when they run: some must work without Ray and Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tuner.commands import data, simulate

_HELP = (
    "Search how to fine-tune a GAN on your pictures: over backbones, frozen layers and losses, on this machine or a Ray cluster."
)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=_HELP)
app.add_typer(data.app, name="data", help="Look at pictures, or pack them, before a sweep.")
app.add_typer(simulate.app, name="simulate", help="See how a search would go, over recorded or made-up learning curves.")

Address = Annotated[str | None, typer.Option(help='Ray cluster to join: "auto" or host:port; an embedded Ray when left out.')]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, progress on standard error.")]
Job = Annotated[str, typer.Argument(help="The job's name, as submit has printed it.")]
JobsAddress = Annotated[str, typer.Option(help="The cluster's dashboard, which takes jobs.")]


@app.command()
def run(
    spec: Annotated[Path, typer.Argument(help="The sweep's YAML file.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="path=value, over the file's value; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the plan; train nothing.")] = False,
    as_json: Json = False,
    address: Address = None,
) -> None:
    """Run a sweep: search, train, stop by FID, score the finalists, export the best."""
    from tuner.commands import run as command

    command.run(spec, overrides or [], dry_run=dry_run, as_json=as_json, address=address)


@app.command()
def resume(
    sweep: Annotated[Path, typer.Argument(help="The sweep's folder.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="path=value, over the sweep's spec; repeatable.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try trials again that failed for other reasons than their training.")
    ] = False,
    take_over: Annotated[
        bool, typer.Option("--take-over", help="Take the sweep from a driver that seems to hold it but is certain to be gone.")
    ] = False,
    as_json: Json = False,
    address: Address = None,
) -> None:
    """Go on with a sweep that was interrupted: unfinished trials from their checkpoints, then what is missing."""
    from tuner.commands import run as command

    command.resume(sweep, overrides or [], as_json=as_json, address=address, take_over=take_over, retry_failed=retry_failed)


@app.command()
def show(
    sweep: Annotated[Path, typer.Argument(help="The sweep's folder.")],
    rows: Annotated[int, typer.Option(min=1, help="Trials to list, best first; those that run follow.")] = 20,
    as_json: Json = False,
) -> None:
    """How a sweep stands, from its folder: who runs it, its trials, its finalists, and what to do next."""
    from tuner.commands import show as command

    command.run(sweep, rows, as_json=as_json)


@app.command("list")
def list_sweeps(
    folder: Annotated[Path, typer.Argument(help="The folder below which sweeps are; what specs call storage.")] = Path("sweeps"),
    as_json: Json = False,
) -> None:
    """The sweeps in a folder, newest first: their state and their best."""
    from tuner.commands import show as command

    command.list_sweeps(folder, as_json=as_json)


@app.command()
def export(
    sweep: Annotated[Path, typer.Argument(help="The sweep's folder.")],
    trial: Annotated[int | None, typer.Option(help="Which trial; the best when left out.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; <sweep>/export/trial-<number> when left out.")] = None,
) -> None:
    """Write the best generator as a folder that samples without the sweep."""
    from tuner.commands import export as command

    command.run(sweep, trial, out)


@app.command("import")
def import_source(
    file: Annotated[
        Path,
        typer.Argument(
            help="A pickle of StyleGAN2-ADA or StyleGAN3 (.pkl), a checkpoint of rosinality's stylegan2-pytorch (.pt), "
            "an export's folder, a trial's checkpoint or another source checkpoint. None of its code is run."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The source checkpoint to write, .safetensors; pictures go beside it as .png.")],
    discriminator: Annotated[
        bool, typer.Option("--discriminator/--no-discriminator", help="Whether the discriminator is taken too.")
    ] = True,
    label: Annotated[
        int | None, typer.Option(help="Of a network with classes: this one alone, for pictures without labels. From 0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Make a network that others have trained a source to fine-tune from, and show what it draws."""
    from tuner.commands import import_source as command

    command.run(file, out, discriminator, label, force, as_json=as_json)


@app.command()
def sample(
    source: Annotated[
        Path,
        typer.Argument(
            help="An export's folder (what gansweep export has written, SWEEP_FOLDER/export/trial-NUMBER), a source checkpoint, "
            "a trial's checkpoint, or whatever gansweep import takes."
        ),
    ],
    n: Annotated[int, typer.Option("--n", min=1, help="Number of pictures.")] = 64,
    out: Annotated[Path, typer.Option(help="A .png file for one grid; otherwise a folder for a file each.")] = Path("grid.png"),
    seed: Annotated[int, typer.Option(min=0, help="Which sequence of pictures.")] = 0,
    scale: Annotated[int | None, typer.Option(min=1, help="Enlarge pixels; small pictures are enlarged when left out.")] = None,
    truncation: Annotated[
        float, typer.Option(help="How far styles go from their mean: 0.7 gives fewer kinds of better pictures. StyleGANs alone.")
    ] = 1.0,
    label: Annotated[int | None, typer.Option(help="The class of the pictures, from 0; all in turn when left out.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make pictures with an exported generator, or with a source's."""
    from tuner.commands import sample as command

    command.run(source, n, out, seed, scale, truncation, label, force=force)


@app.command()
def apply(
    export: Annotated[Path, typer.Argument(help="An export's folder, as for sample; of a task that takes pictures.")],
    pictures: Annotated[list[str], typer.Argument(metavar="PICTURE...", help="Picture files, folders, archives; of any size.")],
    out: Annotated[Path, typer.Option(help="Folder for the results, each PNG named as its picture.")] = Path("applied"),
    device: Annotated[str, typer.Option(help="Where the generator runs: cpu, cuda, …")] = "cpu",
    max_megapixels: Annotated[int, typer.Option(min=1, help="What is made at once, a GB each; more in tiles.")] = 2,
    as_json: Json = False,
) -> None:
    """Restore, colour, enlarge or restyle pictures with an exported generator. Exit code 1: some could not be, and are named."""
    from tuner.commands import apply as command

    command.run(export, pictures, out, device, max_megapixels, as_json=as_json)


@app.command()
def metrics(
    a: Annotated[str, typer.Argument(help="The real pictures: folder, archive, Parquet file or export.")],
    b: Annotated[str, typer.Argument(help="The pictures to judge, likewise.")],
    metric: Annotated[list[str] | None, typer.Option(help="Full name, e.g. fid[inception,299px,n=5000]; repeatable.")] = None,
    resolution: Annotated[int | None, typer.Option(min=1, help="Side to bring all pictures to first.")] = None,
    device: Annotated[str, typer.Option(help="Where networks run: cpu, cuda, …")] = "cpu",
    as_json: Json = False,
) -> None:
    """Compare two sets of pictures with the numbers that a sweep reports."""
    from tuner.commands import metrics as command

    command.run(a, b, metric or [], resolution, device, as_json=as_json)


@app.command()
def sources(
    spec: Annotated[Path, typer.Argument(help="The sweep's YAML file, whose sources are ranked.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", help="path=value, over the file's value; repeatable.")] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="Full name of the metric whose features and number of samples to take; the spec's when left out."),
    ] = None,
    device: Annotated[str, typer.Option(help="Where networks run: cpu, cuda, …")] = "cpu",
    as_json: Json = False,
) -> None:
    """Rank the sources of a spec by how much of its pictures their samples cover (recall); nothing is trained."""
    from tuner.commands import sources as command

    command.run(spec, overrides or [], metric, device, as_json=as_json)


@app.command()
def components(as_json: Json = False) -> None:
    """List what a spec can choose: tasks, backbones, generators, losses, metrics and the rest, with their options."""
    from tuner.commands import components as command

    command.run(as_json=as_json)


@app.command()
def submit(
    spec: Annotated[Path, typer.Argument(help="The sweep's YAML file, or the folder of a sweep to go on with.")],
    address: JobsAddress = "http://127.0.0.1:8265",
    overrides: Annotated[list[str] | None, typer.Option("--set", help="path=value, over the file's value; repeatable.")] = None,
) -> None:
    """Send a sweep to a Ray cluster as a job. Images, source and storage must be at the same paths there."""
    from tuner.commands import submit as command

    command.run(spec, address, overrides or [])


@app.command()
def status(job: Job, address: JobsAddress = "http://127.0.0.1:8265", as_json: Json = False) -> None:
    """How a submitted sweep is doing."""
    from tuner.commands import jobs as command

    command.status(job, address, as_json=as_json)


@app.command()
def logs(
    job: Job,
    address: JobsAddress = "http://127.0.0.1:8265",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
) -> None:
    """What a submitted sweep has printed."""
    from tuner.commands import jobs as command

    command.logs(job, address, follow=follow)


@app.command()
def stop(job: Job, address: JobsAddress = "http://127.0.0.1:8265") -> None:
    """Stop a submitted sweep. To go on with it: gansweep submit SWEEP_FOLDER, or gansweep resume SWEEP_FOLDER."""
    from tuner.commands import jobs as command

    command.stop(job, address)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
