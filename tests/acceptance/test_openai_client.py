"""OpenAI's own client against a real server: nothing but its base URL is changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest

from .serving import serving

pytestmark = pytest.mark.model

KEY = "a-key-of-our-own"
TEXTS = ["The river bank is muddy.", "A bank deposit earns interest.", "The shore of the stream is wet."]


@pytest.fixture(scope="module")
def base_url(tmp_path_factory: pytest.TempPathFactory, default_model_folder: Path) -> Iterator[str]:
    """A server that wants a key."""
    with serving(tmp_path_factory.mktemp("openai"), default_model_folder, api_key=KEY, max_batch=100) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="module")
def model(default_model_folder: Path) -> str:
    """The default model, by the folder that its files are in."""
    return str(default_model_folder)


@pytest.fixture(scope="module")
def client(base_url: str) -> Iterator[openai.OpenAI]:
    """The client as its users make it."""
    with openai.OpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        yield client


def vectors(answer: openai.types.CreateEmbeddingResponse) -> np.ndarray:
    return np.array([one.embedding for one in answer.data])


def test_embeddings_come_in_order_with_unit_length(client: openai.OpenAI, model: str) -> None:
    answer = client.embeddings.create(input=TEXTS, model=model)
    found = vectors(answer)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert found.shape == (3, 384)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-3)
    assert found[0] @ found[2] > found[0] @ found[1]


def test_usage_counts_the_tokens_of_the_input_cached_or_not(client: openai.OpenAI, model: str) -> None:
    text = "Nobody has asked for this sentence yet."
    first = client.embeddings.create(input=text, model=model).usage
    again = client.embeddings.create(input=text, model=model).usage
    assert first.prompt_tokens == first.total_tokens == 10
    assert again == first


def test_embeddings_as_floats_and_as_base64_are_the_same(client: openai.OpenAI, model: str) -> None:
    # The client asks for base64 by itself unless told otherwise.
    default = vectors(client.embeddings.create(input=TEXTS, model=model))
    floats = vectors(client.embeddings.create(input=TEXTS, model=model, encoding_format="float"))
    assert np.array_equal(default, floats)


def test_embedding_of_one_string_is_that_of_the_list(client: openai.OpenAI, model: str) -> None:
    single = vectors(client.embeddings.create(input=TEXTS[0], model=model))
    assert single[0] @ vectors(client.embeddings.create(input=TEXTS, model=model))[0] > 0.9999


def test_embedding_of_token_ids_is_that_of_their_text(client: openai.OpenAI, model: str) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(f"{model}/tokenizer.json")
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    by_text = vectors(client.embeddings.create(input=TEXTS, model=model))
    by_lists = vectors(client.embeddings.create(input=ids, model=model))
    by_list = vectors(client.embeddings.create(input=ids[0], model=model))
    assert np.sum(by_lists * by_text, axis=1).min() > 0.999
    assert by_list[0] @ by_text[0] > 0.999


def test_dimensions_cut_and_normalise_again(client: openai.OpenAI, model: str) -> None:
    whole = vectors(client.embeddings.create(input=TEXTS, model=model))[:, :128]
    cut = vectors(client.embeddings.create(input=TEXTS, model=model, dimensions=128))
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert np.sum(cut * expected, axis=1).min() > 0.9999


async def embed_async(base_url: str, model: str) -> np.ndarray:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0) as client:
        return vectors(await client.embeddings.create(input=TEXTS[:1], model=model))


def test_async_client_works_too(base_url: str, model: str) -> None:
    import asyncio

    assert asyncio.run(embed_async(base_url, model)).shape == (1, 384)


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert all(one.object == "model" for one in client.models.list())


def test_model_that_is_not_here_is_the_clients_not_found_error(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no/such-model")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("text", ["", "   ", "nul \x00"])
def test_text_that_cannot_be_embedded_is_the_clients_bad_request(
    client: openai.OpenAI, model: str, text: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(input=text, model=model)
    assert caught.value.code == "invalid_text"


def test_too_many_texts_are_refused_with_the_limit(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(input=["text"] * 101, model=model)
    assert caught.value.status_code == 413
    assert "100" in caught.value.message


def test_wrong_key_is_the_clients_authentication_error(base_url: str, model: str) -> None:
    with (
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        stranger.embeddings.create(input="text", model=model)
    assert caught.value.code == "invalid_api_key"
