"""The server's side of the page: visits, private routes and the two public endpoints, with fake models."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from threading import Event

import fakes
import httpx
import numpy as np
import pytest
from fakes import FakeModels, FakeSession
from starlette.applications import Starlette
from starlette.testclient import TestClient

from hfgi_app import images
from hfgi_app.directions.styleclip.words import split
from hfgi_app.prompts import Prompt
from hfgi_app.train.captions import TRAITS
from hfgi_app.train.words import vocabulary
from hfgi_app.types import EditRecipe, Slider
from hfgi_app.ui import page as page_module
from hfgi_app.ui import visits as visits_module
from hfgi_app.ui.routes import Routes
from hfgi_app.ui.visits import Visits

RED = {"strengths": {"tone/red": 2.0}}


@pytest.fixture(autouse=True)
def fake_sessions(monkeypatch):
    monkeypatch.setattr(visits_module, "EditSession", FakeSession)


@pytest.fixture
def visits():
    return Visits(FakeModels())


@pytest.fixture
def client(visits):
    app = Starlette(routes=Routes(visits, {}).table(), lifespan=visits.lifespan)
    with TestClient(app) as client:
        yield client


def portrait(seed: int = 0, size: tuple[int, int] = (120, 100)) -> np.ndarray:
    height, width = size
    ramp = np.linspace(40, 180, height * width).reshape(height, width, 1)
    return (ramp + np.random.default_rng(seed).integers(0, 30, (1, 1, 3))).astype(np.uint8)


def png(photo: np.ndarray) -> bytes:
    return images.encode(photo, "PNG")


def opened(client, token: str, data: bytes, query: str = "") -> dict:
    """The last line that `open` tells."""
    response = client.post(f"/studio/open{query}", content=data, headers={"X-Visit": token})
    assert response.status_code == 200, response.text
    return json.loads(response.text.splitlines()[-1])


def ask(client, token: str, path: str, recipe: dict, sequence: int = 1):
    return client.post(f"/studio/{path}", json={"sequence": sequence, "recipe": recipe}, headers={"X-Visit": token})


def done(visits: Visits) -> None:
    """Wait until the model thread has nothing left to do."""
    visits.submit(lambda: None).result()


# --- routes ----------------------------------------------------------------------------------------------------------


def test_a_photo_opens_and_comes_back_edited(client, visits):
    token, photo = visits.begin("page"), portrait()
    told = opened(client, token, png(photo))["photo"]
    assert (told["width"], told["height"], told["faces"], told["face"]) == (100, 120, 1, 0)
    assert np.allclose(np.array(told["quad"]) * (100, 120), visits.find(token).session.quad)
    whole = images.read(ask(client, token, "picture", {}).content)
    assert np.abs(whole.astype(int) - photo).max() < 12  # JPEG
    frame = images.read(ask(client, token, "frame", RED, 2).content)
    plain = images.read(ask(client, token, "frame", {}, 3).content)
    assert 15 < (frame.astype(int) - plain)[..., 0].mean() < 25
    export = ask(client, token, "export", RED).content
    assert np.array_equal(images.read(export), visits.find(token).session.render(EditRecipe((("tone/red", 2.0),))))
    assert EditRecipe.from_json(images.read_recipe(export)).strengths == (("tone/red", 2.0),)


def test_pictures_are_never_stored_by_the_browser(client, visits):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    for path in ("frame", "picture", "export"):
        assert ask(client, token, path, {}).headers["Cache-Control"] == "no-store"


def test_the_page_gets_no_more_than_a_screen(client, visits):
    token = visits.begin("page")
    opened(client, token, png(portrait(size=(1700, 2000))))
    assert images.read(ask(client, token, "picture", {}).content).shape == (1360, 1600, 3)
    assert images.read(ask(client, token, "export", {}).content).shape == (1700, 2000, 3)


def test_another_face_of_a_photo(client, visits):
    token, data = visits.begin("page"), png(portrait(size=(100, 240)))
    assert opened(client, token, data)["photo"]["faces"] == 2
    assert opened(client, token, data, "?face=1")["photo"]["face"] == 1
    assert "no face 7" in opened(client, token, data, "?face=7")["message"]
    assert visits.find(token).session.face == 1


def test_another_face_needs_no_second_upload(client, visits):
    token, photo = visits.begin("page"), portrait(size=(100, 240))
    assert client.post("/studio/open?kept&face=1", headers={"X-Visit": token}).status_code == 410
    opened(client, token, png(photo))
    assert opened(client, token, b"", "?kept&face=1")["photo"]["face"] == 1
    assert np.array_equal(images.read(ask(client, token, "export", {}).content), photo)
    assert "cannot be opened" in opened(client, token, b"")["message"]  # an empty file is not a photo


@pytest.mark.parametrize("data", [b"not a picture", png(portrait())[:400], png(np.full((80, 80, 3), 90, np.uint8))])
def test_a_refused_photo_leaves_the_old_one(client, visits, data):
    token, photo = visits.begin("page"), portrait()
    opened(client, token, png(photo))
    message = opened(client, token, data)["message"]
    assert message.endswith(".")
    assert message.count(".") == 1
    assert np.array_equal(images.read(ask(client, token, "export", {}).content), photo)


def test_an_upload_that_is_too_long_is_refused(client, visits, monkeypatch):
    monkeypatch.setattr(images, "MAX_BYTES", 1000)
    response = client.post("/studio/open", content=bytes(1001), headers={"X-Visit": visits.begin("page")})
    assert response.status_code == 422
    assert "larger" in response.json()["message"]


def test_no_token_no_photo(client, visits):
    mine, other = visits.begin("mine"), visits.begin("other")
    opened(client, mine, png(portrait()))
    assert ask(client, "", "picture", {}).status_code == 422
    assert ask(client, mine[:-1], "picture", {}).status_code == 422
    assert ask(client, other, "picture", {}).status_code == 410
    assert len({mine, other}) == 2
    assert len(mine) >= 43


def test_a_photo_goes_when_its_page_says_so_and_the_token_stays_good(client, visits):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    session = visits.find(token).session
    assert client.post("/studio/close", content=token).status_code == 204
    done(visits)
    assert session.photo is None
    assert ask(client, token, "picture", {}).status_code == 410
    assert "photo" in opened(client, token, png(portrait()))


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"recipe": 1}', '{"recipe": {"strengths": {"a": "b"}}}'])
def test_a_malformed_request_gets_a_sentence(client, visits, body):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    response = client.post("/studio/frame", content=body, headers={"X-Visit": token})
    assert response.status_code == 422
    assert response.json()["message"].endswith(".")


def test_a_failure_in_the_models_tells_nothing_of_the_inside(client, visits, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("/secret/path")

    token = visits.begin("page")
    opened(client, token, png(portrait()))
    monkeypatch.setattr(FakeSession, "preview", fail)
    response = ask(client, token, "frame", RED)
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "/secret/path" in caplog.text


def test_an_older_request_that_arrives_late_is_not_worked_on(client, visits):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    assert ask(client, token, "frame", RED, 5).status_code == 200
    assert ask(client, token, "frame", RED, 4).status_code == 204


def learn(client, token: str, method: str = "slow") -> list[dict]:
    response = client.post("/studio/learn", json={"method": method}, headers={"X-Visit": token})
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_slow_method_asks_first_and_learns_on_demand(client, visits, monkeypatch):
    monkeypatch.setattr(fakes, "LESSON", 0.2)
    token, slow = visits.begin("page"), RED | {"method": "slow"}
    opened(client, token, png(portrait()))
    for path in ("frame", "picture", "tile", "export"):
        answer = ask(client, token, path, slow)
        assert (answer.status_code, answer.json()) == (202, {"method": "slow", "seconds": 0.2})
    told = learn(client, token)
    assert [line.get("ratio") for line in told] == [*(step / 20 for step in range(1, 21)), None]
    assert told[-1] == {"ready": True}
    assert ask(client, token, "tile", slow).headers["Content-Type"] == "image/png"
    assert "no method" in learn(client, token, "magic")[-1]["message"]


def test_a_lesson_ends_when_its_photo_is_put_away(client, visits, monkeypatch):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    session = visits.find(token).session
    monkeypatch.setattr(visits, "stand_back", lambda: visits.forget(token))  # at the first step
    assert "called off" in learn(client, token)[-1]["message"]
    assert "slow" not in session.learnt


def test_a_lesson_holds_nobody_up_and_lets_others_go_first(visits):
    began, gate = Event(), Event()

    def lesson() -> float:
        began.set()
        gate.wait(5)
        started = time.monotonic()
        visits.stand_back()
        return time.monotonic() - started

    learning = visits.submit_slow(lesson)
    assert began.wait(5)
    assert visits.submit(lambda: b"picture").result(5) == b"picture"  # while it learns
    visits.submit(time.sleep, 0.3)
    gate.set()
    assert 0.1 < learning.result(5) < visits_module.POLITE


def typed(client, token: str, neutral: str, target: str, **more):
    fields = {"neutral": neutral, "target": target, **more}
    return client.post("/studio/typed", json=fields, headers={"X-Visit": token})


def test_a_typed_prompt_becomes_a_slider_for_the_photo(client, visits):
    token = visits.begin("page")
    assert typed(client, token, "face", "red face").status_code == 410
    for faces, reach in ((1, 2.0), (2, 4.0)):
        opened(client, token, png(portrait(size=(100, 110 * faces))))
        found = typed(client, token, " face", "red  face").json()
        assert found["prompt"] == {"neutral": "face", "target": "red face", "strength": 1.0, "beta": fakes.USUAL}
        assert (found["slider"]["low"], found["slider"]["high"]) == (-reach, reach)
    strict = typed(client, token, "face", "red face", beta=fakes.STRICTEST).json()
    assert (strict["channels"], strict["prompt"]["beta"]) == (1, fakes.STRICTEST)


@pytest.mark.parametrize(
    ("neutral", "target", "beta", "words"),
    [
        ("face", "wizard", None, "does not know: wizard; it knows face"),
        ("face", "FACE", None, "both sides"),
        ("face", "red " * 80, None, "at most 200"),
        ("", "face", None, "no words"),
        ("face", "red face", 0.9, "leaves no channel"),
        ("face", "red face", "strict", "beta must be a finite number"),
    ],
)
def test_a_prompt_that_cannot_be_followed_gets_a_sentence(client, visits, neutral, target, beta, words):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    answer = typed(client, token, neutral, target, beta=beta)
    assert answer.status_code == 422
    assert words in answer.json()["message"]


def test_recipes_carry_prompts(client, visits):
    token, recipe = visits.begin("page"), {"prompts": ["face -> red face = 2 @ 0.4"]}
    opened(client, token, png(portrait()))
    frame, plain = (images.read(ask(client, token, "frame", each).content).astype(int) for each in (recipe, {}))
    assert np.abs((frame - plain).mean((0, 1)) - (40, 0, 0)).max() < 4
    export = ask(client, token, "export", recipe).content
    assert json.loads(images.read_recipe(export))["prompts"] == recipe["prompts"]
    assert "does not know" in ask(client, token, "frame", {"prompts": ["face -> elf = 1"]}).json()["message"]
    assert ask(client, token, "frame", {"prompts": ["face -> elf"]}).status_code == 422


def test_what_an_edit_changed_is_told(client, visits):
    token = visits.begin("page")
    opened(client, token, png(portrait()))
    assert ask(client, token, "changes", {}).json() == []
    told = ask(client, token, "changes", {"prompts": ["face -> red face = 2"]}).json()
    assert told[0] == {"label": "red face", "amount": 0.8}
    assert len(told) == 3
    assert ask(client, token, "changes", {"method": "slow"}).status_code == 202


def test_a_recipe_is_read_from_a_picture_or_json(client, visits):
    recipe = EditRecipe((("tone/red", 2.0),), (Prompt("face", "red face", 1.5),))

    def read(data: bytes):
        return client.post("/studio/recipe", content=data, headers={"X-Visit": token})

    token = visits.begin("page")
    for data in (images.encode(portrait(), "PNG", recipe_json=recipe.to_json()), recipe.to_json().encode()):
        assert EditRecipe.from_json(read(data).text) == recipe
    for data, words in (
        (png(portrait()), "carries no recipe"),
        (b"text", "cannot be opened"),
        (b'{"magic": 1}', "magic"),
    ):
        assert words in read(data).json()["message"]


BOX = 'data-part="prompt"'


def test_the_page_has_a_box_where_the_model_follows_prompts():
    assert [BOX in page_module.body(FakeModels(follows_prompts=each), {}) for each in (True, False)] == [True, False]


def test_the_prompts_to_try_are_in_words_that_the_small_text_model_learns():
    known = vocabulary(TRAITS)
    for idea in page_module.IDEAS:
        assert set(split(idea)) <= set(known), idea


# --- visits ----------------------------------------------------------------------------------------------------------


def open_in(visits: Visits, page: str, photo: np.ndarray) -> FakeSession:
    visit, session = visits.find(visits.begin(page)), visits.session()
    session.open(photo)
    assert visits.keep(visit, session, visit.order)
    return session


def test_only_the_newest_work_of_a_page_waits(visits):
    visit, gate = visits.find(visits.begin("page")), Event()
    visits.submit(gate.wait, 5)
    jobs = [visits.submit_newest(visit, lambda name=name: name) for name in (b"first", b"second", b"third")]
    gate.set()
    assert jobs[2].result(5) == b"third"
    assert jobs[0].cancelled()
    assert jobs[1].cancelled()


def test_work_of_other_pages_is_left_alone(visits):
    gate, jobs = Event(), []
    visits.submit(gate.wait, 5)
    for page in ("one", "two"):
        jobs.append(visits.submit_newest(visits.find(visits.begin(page)), lambda page=page: page.encode()))
    gate.set()
    assert [job.result(5) for job in jobs] == [b"one", b"two"]


def test_the_least_recently_used_photos_make_room():
    visits = Visits(FakeModels(), photos=2)
    sessions = [open_in(visits, str(index), portrait()) for index in range(3)]
    visits.sweep()
    done(visits)
    assert [session.photo is None for session in sessions] == [True, False, False]


def test_heavy_photos_make_room_but_the_newest_stays():
    visits = Visits(FakeModels(), size=1000)
    sessions = [open_in(visits, str(index), portrait()) for index in range(3)]
    visits.sweep()
    done(visits)
    assert [session.photo is None for session in sessions] == [True, True, False]


def test_an_untouched_photo_goes():
    visits = Visits(FakeModels(), idle=0.05)
    session = open_in(visits, "page", portrait())
    visits.sweep()
    done(visits)
    assert session.photo is not None
    time.sleep(0.06)
    visits.sweep()
    done(visits)
    assert session.photo is None


def test_a_closed_page_takes_its_photo_along(visits):
    session, other = open_in(visits, "page", portrait()), open_in(visits, "other", portrait())
    visits.leave("page")
    visits.leave("unknown")
    done(visits)
    assert session.photo is None
    assert other.photo is not None


def test_a_photo_that_comes_too_late_is_dropped(visits):
    token = visits.begin("page")
    visit, session = visits.find(token), visits.session()
    order = visit.order
    visits.forget(token)
    assert not visits.keep(visit, session, order)
    assert visit.session is None


def test_old_tokens_are_forgotten(monkeypatch, visits):
    monkeypatch.setattr(visits_module, "PAGES", 2)
    tokens = [visits.begin(str(index)) for index in range(3)]
    assert [visits.find(token) is None for token in tokens] == [True, False, False]


# --- the public endpoints --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The address of a running studio, and the only folder in which it may write."""
    folder = tmp_path_factory.mktemp("gradio")
    with fakes.running(Path(fakes.__file__), str(tmp_path_factory.mktemp("none")), temp=folder) as url:
        yield url, folder


@pytest.fixture(scope="module")
def remote(launched, tmp_path_factory):
    gradio_client = pytest.importorskip("gradio_client")
    return gradio_client.Client(launched[0], verbose=False, download_files=str(tmp_path_factory.mktemp("client")))


def edit(remote, path, recipe: str) -> str:
    from gradio_client import handle_file

    return remote.predict(handle_file(str(path)), recipe, api_name="/edit")


def test_only_two_endpoints_are_public(remote):
    assert set(remote.view_api(return_format="dict", print_info=False)["named_endpoints"]) == {"/edit", "/sliders"}


def test_the_sliders_are_listed(remote):
    listed = remote.predict(api_name="/sliders")
    assert listed[0] == asdict(Slider("tone/red", "Red", -5, 5, 0.1, "", "tone"))
    assert [each["name"] for each in listed] == [slider.name for slider in FakeModels().sliders()]


def test_a_photo_is_edited_and_nothing_stays(remote, launched, tmp_path):
    photo, recipe = portrait(), EditRecipe((("tone/red", 2.0),))
    images.write(tmp_path / "photo.png", photo)
    answer = edit(remote, tmp_path / "photo.png", recipe.to_json())
    session = FakeSession(FakeModels())
    session.open(photo)
    assert np.array_equal(images.read(answer), session.render(recipe))
    assert images.read_recipe(answer) == recipe.to_json()
    end = time.monotonic() + 20
    while [path for path in launched[1].rglob("*") if path.is_file()]:
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("data", "recipe", "words"),
    [
        (b"text", "{}", "cannot be opened"),
        (png(np.full((80, 80, 3), 9, np.uint8)), "{}", "no face"),
        (b"", "[", "JSON"),
    ],
)
def test_what_cannot_be_edited_gets_a_sentence(remote, tmp_path, data, recipe, words):
    from gradio_client.exceptions import AppError

    (tmp_path / "photo.png").write_bytes(data or png(portrait()))
    with pytest.raises(AppError, match=words):
        edit(remote, tmp_path / "photo.png", recipe)


def test_gradio_shows_nothing_else(launched):
    url = launched[0]
    for path in ("monitoring/summary", "gradio_api/monitoring/summary", "gradio_api/runs", "studio/open"):
        assert httpx.get(url + path).status_code in (403, 404, 405), path
    config = httpx.get(url + "config").json()
    assert {
        each["api_visibility"] for each in config["dependencies"] if each["api_name"] not in ("edit", "sliders")
    } == {"private"}
