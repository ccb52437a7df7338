"""OpenAI's interface for embeddings: its own client against a server."""

from __future__ import annotations

import numpy as np
import pytest
from capabilities import package

pytestmark = pytest.mark.slow

CLOSE = 1e-4


def test_openais_client(start_server, embedder, alone, texts):
    openai = package("openai")
    server = start_server(f"search={embedder}", "--drain", "0", "--max-texts", "8", OPTKIT_SERVE_API_KEY="a-key")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="a-key", max_retries=0)
    expected = [tokens.mean(0) / np.linalg.norm(tokens.mean(0)) for tokens, _ in alone(embedder, texts[:8])]
    # Without an encoding_format the client asks for base64 and decodes it.
    for form in ({}, {"encoding_format": "float"}):
        found = client.embeddings.create(model="search", input=texts[:8], **form)
        assert [each.index for each in found.data] == list(range(8))
        np.testing.assert_allclose([each.embedding for each in found.data], expected, atol=CLOSE)
    [short] = client.embeddings.create(model="search", input=texts[1], dimensions=8).data
    np.testing.assert_allclose(short.embedding, expected[1][:8] / np.linalg.norm(expected[1][:8]), atol=CLOSE)
    assert found.model == "search" and found.usage.prompt_tokens == found.usage.total_tokens
    assert found.usage.total_tokens == sum(len(mask) for _, mask in alone(embedder, texts[:8]))
    assert [model.id for model in client.models.list()] == ["search"]
    with pytest.raises(openai.NotFoundError) as missing:
        client.embeddings.create(model="nope", input="a")
    assert missing.value.code == "model_not_found" and missing.value.type == "invalid_request_error"
    with pytest.raises(openai.APIStatusError) as many:
        client.embeddings.create(model="search", input=texts[:9])
    assert many.value.status_code == 413 and "9 inputs in a request: at most 8" in str(many.value)
    with pytest.raises(openai.UnprocessableEntityError):
        client.embeddings.create(model="search", input=[])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="another").embeddings.create(model="search", input="a")
    assert server.stop() == 0 and "a-key" not in "".join(server.log)
