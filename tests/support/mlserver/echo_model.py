"""A model for MLServer that gives its inputs back as outputs. Runs inside MLServer."""

from collections.abc import AsyncIterator

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class EchoModel(MLModel):  # type: ignore[misc]  # mlserver is not in the environment that types are checked in
    """Outputs have the names, datatypes, shapes and data of the inputs. On a stream each request is answered once."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        outputs = [
            ResponseOutput.model_construct(
                name=each.name, datatype=each.datatype, shape=each.shape, data=each.data, parameters=each.parameters
            )
            for each in payload.inputs
        ]
        return InferenceResponse.model_construct(
            id=payload.id, model_name=self.name, model_version=self.version, outputs=outputs
        )

    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            yield await self.predict(payload)
