"""`metaf2n web`: a local web page that restores photos."""

from __future__ import annotations

from typing import Annotated

import typer

from metaf2n_arch.cli import blocks

LOOPBACK = '127.0.0.1'


def web(
    weights: blocks.Weights = 'realesrgan_x4plus',
    architecture: blocks.Architecture = None,
    param_key: blocks.ParamKey = None,
    mask_weights: blocks.MaskWeights = None,
    mask_architecture: blocks.MaskArchitecture = None,
    detector: blocks.Detector = 'retinaface_resnet50',
    restorer: blocks.Restorer = None,
    device: blocks.Device = None,
    host: Annotated[
        str, typer.Option(help='Address to listen on; by default only this machine can connect.')
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(min=1, max=65535, help='Port to listen on.')] = 7860,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help='Further host name of the page, for example behind a proxy; may be given several times.'),
    ] = None,
    max_mb: Annotated[float, typer.Option(min=0.01, help='Largest upload in megabytes.')] = 20,
    max_total_mb: Annotated[
        float, typer.Option(min=0.01, help='Largest size of all uploads and results together, in megabytes.')
    ] = 1000,
    max_pixels: Annotated[float, typer.Option(min=0.01, help='Largest photo in megapixels.')] = 4.0,
) -> None:
    """Open a local page: drop a photo, see its faces, compare before and after, not adapted and adapted."""
    from metaf2n_arch.web.keeping import place_for_files
    from metaf2n_arch.web.serving import ended_by_signals, load_gradio, serve

    with ended_by_signals(), place_for_files() as place:
        load_gradio(place)
        sr = blocks.load(
            weights, architecture, mask_weights, mask_architecture, detector, restorer, device, param_key=param_key
        )
        from metaf2n_arch.web.page import build_page

        typer.echo(sr.about)
        typer.echo(f'http://{f"[{host}]" if ":" in host else host}:{port} - press Ctrl-C to end it.')
        serve(build_page(sr, place, max_pixels), host, port, place, max_mb, max_total_mb, allow_host or ())
