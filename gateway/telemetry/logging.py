"""The program's log: lines of text or JSON on standard error, for Janua and the libraries alike."""

import logging
import sys
from typing import Literal

import structlog


def configure_logging(level: str, log_format: Literal["text", "json"]) -> None:
    """Sets up the log of this process. To be called once, by the program, never by a library."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
    ]
    renderer: structlog.typing.Processor
    if log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # The default one, where rich is installed, shows local variables: keys and prompts.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("janua").setLevel(level.upper())
    # It writes down whole headers that are no UTF-8, be they tokens.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda each: not each.getMessage().startswith("Invalid encoding")
    )
