import pytest

from sandbox.pubsub.google import find_google_emulator


@pytest.fixture
def bin_folder(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    executable(folder / "java")
    return folder


def executable(path):
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def jar_in(root, version="0.8.20"):
    folder = root / "platform/pubsub-emulator/lib"
    folder.mkdir(parents=True, exist_ok=True)
    jar = folder / f"cloud-pubsub-emulator-{version}-all.jar"
    jar.touch()
    return jar


@pytest.fixture(autouse=True)
def no_system_sdk(tmp_path, monkeypatch):
    monkeypatch.setattr("sandbox.pubsub.google._SYSTEM_SDK", tmp_path / "system")


def test_named_jar(tmp_path, bin_folder):
    jar = tmp_path / "any.jar"
    jar.touch()
    environ = {"PATH": str(bin_folder), "PUBSUB_EMULATOR_JAR": str(jar)}
    command = find_google_emulator(environ, heap_megabytes=256)
    assert command == [str(bin_folder / "java"), "-Xmx256m", "-jar", str(jar)]


def test_named_jar_that_is_not_there(bin_folder):
    environ = {"PATH": str(bin_folder), "PUBSUB_EMULATOR_JAR": "/nowhere.jar"}
    with pytest.raises(FileNotFoundError, match=r"PUBSUB_EMULATOR_JAR: .*'/nowhere.jar'"):
        find_google_emulator(environ)


def test_sdk_of_gcloud(tmp_path, bin_folder):
    sdk = tmp_path / "elsewhere"
    jar = jar_in(sdk)
    (sdk / "bin").mkdir()
    executable(sdk / "bin/gcloud")
    (bin_folder / "gcloud").symlink_to(sdk / "bin/gcloud")
    assert find_google_emulator({"PATH": str(bin_folder)})[-1] == str(jar)


def test_system_sdk_then_home(tmp_path, bin_folder):
    environ = {"PATH": str(bin_folder), "HOME": str(tmp_path)}
    in_home = jar_in(tmp_path / "google-cloud-sdk")
    assert find_google_emulator(environ)[-1] == str(in_home)
    in_system = jar_in(tmp_path / "system")
    assert find_google_emulator(environ)[-1] == str(in_system)


def test_newest_version(tmp_path, bin_folder):
    for version in ("0.8.9", "0.8.20", "0.8.3"):
        jar_in(tmp_path / "system", version)
    assert "0.8.20" in find_google_emulator({"PATH": str(bin_folder)})[-1]


def test_java_home_comes_first(tmp_path, bin_folder):
    jar_in(tmp_path / "system")
    (tmp_path / "jdk/bin").mkdir(parents=True)
    java = executable(tmp_path / "jdk/bin/java")
    environ = {"PATH": str(bin_folder), "JAVA_HOME": str(tmp_path / "jdk")}
    assert find_google_emulator(environ)[0] == str(java)


def test_none_without_java_or_jar(tmp_path, bin_folder):
    assert find_google_emulator({"PATH": str(bin_folder)}) is None
    jar_in(tmp_path / "system")
    assert find_google_emulator({"PATH": str(tmp_path)}) is None
