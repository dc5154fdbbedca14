"""The course of the demo, told on the console: everything is started, the model is asked twice, then it is yours."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from janua_client.demo import configuration
from janua_client.demo.gemma_weights import require_installed
from janua_client.demo.ports import require_free
from janua_client.demo.questions import ask_grpc, ask_http
from janua_client.demo.stack import MODEL_NAMES, Listen, ModelKind, Served, Stack
from janua_client.demo.suggestions import suggestions
from janua_client.processes import first_death

_QUESTION_HTTP = "What is the capital of France?"
_QUESTION_GRPC = "What is a gateway?"


class Tour:
    """One run of the demo. `is_serving` is true once the questions are answered and the user may try things."""

    def __init__(self, model: ModelKind, listen: Listen, data_dir: Path, console: Console) -> None:
        self.is_serving = False
        self._model = model
        self._model_name = MODEL_NAMES[model]
        self._listen = listen
        self._console = console
        self._stack = Stack(model, listen, data_dir, self._tell)

    async def run(self, *, once: bool) -> None:
        """Runs until a plane dies, or with `once` until both answers are there. Leaves no process behind.

        Raises `ChildError`, `JanuaError`, `CommandError`, `ModelNotInstalledError`.
        """
        if self._model == "gemma":
            require_installed()
        listen = self._listen
        require_free({"--http": listen.http, "--grpc": listen.grpc, "--admin": listen.admin, "--listen": listen.config})
        async with self._stack:
            with self._console.status("starting …"):
                served = await self._start()
            await self._ask(served)
            if not once:
                self._suggest(served)
                self.is_serving = True
                await self._serve()

    def kill(self) -> None:
        """Ends all processes at once."""
        self._stack.kill()

    async def _start(self) -> Served:
        served = await self._stack.start()
        resources = configuration.resources(served.models, self._model_name)
        revision = await configuration.apply(served.config, resources)
        self._tell(f"revision {revision} of the configuration ({configuration.SOURCE}) is on the node")
        return served

    async def _ask(self, served: Served) -> None:
        key, model = configuration.API_KEY, self._model_name
        self._question("HTTP", _QUESTION_HTTP)
        self._answered_by((await ask_http(served.http, key, model, _QUESTION_HTTP, self._write)).endpoint)
        self._question("gRPC", _QUESTION_GRPC)
        self._answered_by((await ask_grpc(served.grpc, key, model, _QUESTION_GRPC, self._write)).endpoint)

    async def _serve(self) -> None:
        """Returns never, but raises when a plane dies. A model server may: showing that is what a gateway is for."""
        running = [*self._stack.planes, *self._stack.models]
        while True:
            death = await first_death(running)
            if any(plane.returncode is not None for plane in self._stack.planes):
                raise death
            self._tell(f"{death}; the gateway goes on with what is left", style="yellow")
            running = [child for child in running if child.returncode is None]

    def _suggest(self, served: Served) -> None:
        self._console.print(Text("\nYours now. Try, in another terminal:", style="bold"))
        for heading, command in suggestions(served, self._model_name):
            self._console.print(Text(f"\n# {heading}", style="dim"))
            self._console.print(Text(command), soft_wrap=True)
        victim = self._stack.models[0]
        self._console.print(Text("\n# end one of the two model servers: requests go on", style="dim"))
        self._console.print(Text(f"kill {victim.pid}"))
        self._console.print(Text("\nCtrl-C ends it all.", style="bold"))

    def _tell(self, what: str, style: str = "dim") -> None:
        self._console.print(Text(f"  {what}", style=style), soft_wrap=True)

    def _question(self, surface: str, question: str) -> None:
        self._console.print(Text.assemble("\n", (surface, "bold cyan"), "  ", (question, "bold")), soft_wrap=True)

    def _write(self, piece: str) -> None:
        self._console.print(Text(piece), end="", soft_wrap=True)

    def _answered_by(self, endpoint: str) -> None:
        self._console.print(
            Text.assemble("\n", (f"answered by {endpoint or 'an endpoint that was not named'}", "green"))
        )
