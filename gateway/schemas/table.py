"""The table of schemas: what each family of wire formats speaks for each operation."""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.schemas.dialect import Dialect
from gateway.schemas.openai_wire import OPENAI
from gateway.types import Operation, Schema

SCHEMAS: Mapping[Schema, Mapping[Operation, Dialect]] = MappingProxyType(
    {
        Schema.OPENAI: MappingProxyType(OPENAI),
        # Requests of these operations look the same whoever answers them.
        Schema.PASSTHROUGH: MappingProxyType(OPENAI),
    },
)
