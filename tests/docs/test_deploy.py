"""Commands of docs/deploy.md name what there is: folders, outputs, arguments of images, steps."""

import re

from deploy import __main__ as deploy
from sandbox.settings import ROOT
from tests.docs import markdown

TEXT = (ROOT / "docs" / "deploy.md").read_text("utf-8")
WORKFLOWS = {path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")}
# A command goes on behind a backslash.
COMMANDS = [
    re.sub(r"\\\n *", "", command).strip()
    for block in re.findall(r"^ *```\n(.*?)```", TEXT, re.MULTILINE | re.DOTALL)
    for command in re.split(r"(?<!\\)\n", block)
]


def commands(program: str) -> list[str]:
    found = [command for command in COMMANDS if command.split(" ")[0] == program]
    assert found, program
    return found


def test_terraform_is_called_in_an_environment_for_outputs_that_it_has() -> None:
    text = (ROOT / "infra" / "environments" / "dev" / "outputs.tf").read_text("utf-8")
    outputs = set(re.findall(r'^output "(\w+)"', text, re.MULTILINE))
    for folder in re.findall(r"-chdir=(\S+)", TEXT):
        assert (ROOT / folder / "main.tf").is_file(), folder
    named = re.findall(r"output -raw (\w+)", TEXT)
    assert named
    assert set(named) <= outputs


def test_images_are_built_of_files_with_arguments_that_they_know() -> None:
    for command in commands("docker"):
        if " build " in command:
            (file,) = re.findall(r"--file (\S+)", command)
            known = set(re.findall(r"^ARG (\w+)", (ROOT / file).read_text("utf-8"), re.MULTILINE))
            assert set(re.findall(r"--build-arg (\w+)=", command)) <= known


def test_values_are_copied_from_an_example_that_names_the_templates() -> None:
    (source, _) = commands("cp")[0].split(" ")[1:]
    example = (ROOT / source).read_text("utf-8")
    for name in ("collector_image", "job_template", "replay_template"):
        assert f"# {name} " in example
        assert f"`{name}`" in TEXT


def test_make_is_given_arguments_that_deployments_take() -> None:
    parser = deploy._parser()
    for command in commands("make"):
        target, environment, arguments = re.fullmatch(
            r"make deploy-(\w+) ENV=(\w+)(?: ARGS=(\S+))?", command
        ).groups()  # type: ignore[union-attr]
        parser.parse_args([target, "--env", environment, *filter(None, [arguments])])


def test_workflows() -> None:
    assert set(markdown.names(ROOT / "docs" / "deploy.md", "GitHub", 0)) >= WORKFLOWS


def test_steps_that_are_named_exist() -> None:
    steps = {int(number) for number in re.findall(r"^(\d)\. \*\*", TEXT, re.MULTILINE)}
    assert steps == set(range(1, max(steps) + 1))
    assert {int(number) for number in re.findall(r"\bstep (\d)", TEXT)} <= steps
