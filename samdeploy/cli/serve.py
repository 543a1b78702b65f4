"""The command ``serve``."""

from __future__ import annotations

from typing import Annotated, Any

from samdeploy.cli.console import print_json
from samdeploy.cli.fields import Command, takes_options
from samdeploy.cli.options import Device, Json, Runtime, option
from samdeploy.cli.running import runtime_options_of
from samdeploy.cli.words import parse_names
from samdeploy.libraries import optional_library
from samdeploy.serving.service import Service
from samdeploy.serving.settings import ServerSettings
from samdeploy.session import RuntimeOptions
from samdeploy.text import printable


def serve_command(running: type[RuntimeOptions] = RuntimeOptions) -> Command:
    """The command with an option for every setting, and for the options of the runtime."""
    command = takes_options(serve, running, "runtime_options")
    return takes_options(command, ServerSettings, "settings")


def serve(
    model: Annotated[str, option("model", help="bundle folder, or several between commas")],
    runtime: Runtime = None,
    device: Device = "auto",
    as_json: Json = False,
    runtime_options: Any = None,
    settings: Any = None,
) -> None:
    """Answer programs, labelling tools and browsers over HTTP, until Ctrl+C."""
    chosen = ServerSettings(**settings)
    with optional_library("samdeploy serve", "pip install 'samdeploy[serve]'"):
        from samdeploy.serving.run import Server
        from samdeploy.serving.run import serve as run

    def started(server: Server, service: Service) -> None:
        token = service.settings.token if settings.get("token") is None else None
        if as_json:
            print_json({"url": server.url, "models": list(service.models), "token": token})
            return
        print(printable(f"serving {', '.join(service.models)} at {server.url}"))
        if token is not None:
            print(f"token: {token}", flush=True)
        print("Ctrl+C ends it.", flush=True)

    options = runtime_options_of(model, runtime)(**runtime_options)
    names = parse_names(model, "model")
    run(names, chosen, started, runtime=runtime, device=device, options=options)
