"""A real language model behind OpenAI's API: Gemma 3 270M in llama.cpp.

`python -m janua_client.demo.llama_server --port 0`. Serves `/v1/chat/completions`, `/v1/models` and `/health`; with
`--embeddings` it serves `/v1/embeddings` instead of chat.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from janua_client.demo.gemma_weights import ModelNotInstalledError, assembled_weights, cache_dir, require_installed
from janua_client.demo.ready_line import print_ready

MODEL = "gemma-3-270m"

# These weights continue text and know nothing of turns, so a conversation is shown to them as questions and answers.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ {'user': 'Question: ', 'assistant': 'Answer: '}.get(message['role'], '') }}{{ message['content'] }}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}Answer:{% endif %}"
)
# Where the model would go on with a question or a paragraph of its own.
STOP_TEXTS = ["\nQuestion:", "\n\n"]


def start(llama: ModuleType, weights: Path, *, port: int, embeddings: bool) -> Any:
    """Starts llama.cpp's server in threads of its own and returns it; it stops when it is deleted.

    One thread computes, so that two servers and a gateway share two cores. Two requests are answered at once.
    """
    params = llama.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames, params.port = ["127.0.0.1"], port
    params.n_ctx, params.n_parallel = 2048, 2
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.chat_template = CHAT_TEMPLATE
    params.antiprompt = STOP_TEXTS
    params.endpoint_metrics = True
    if embeddings:
        params.embedding = True
        params.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return llama.Server(params)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Gemma 3 270M with OpenAI's API.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--embeddings", action="store_true", help="serve embeddings instead of chat")
    args = parser.parse_args()
    # Blocked before the server's threads start, which inherit it: the signals wait for sigwait below.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        package, llama = require_installed()
        server = start(llama, assembled_weights(package, cache_dir()), port=args.port, embeddings=args.embeddings)
    except (ModelNotInstalledError, OSError, RuntimeError, ValueError) as error:
        sys.exit(f"cannot serve the model on port {args.port}: {error}")
    print_ready(server.listening_address)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    main()
