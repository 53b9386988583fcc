"""A machine for one task after the other; it is judged when the episode is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clawjax.evals.harness.sandbox import Finished
from clawjax.evals.harness.tasks import ANSWER, Action, Setup
from clawjax.evals.harness.trajectory import StepResult
from clawjax.evals.suites.agentbench.system.machine import Machine
from clawjax.evals.suites.agentbench.system.wording import BASH, FINISH, output_message

__all__ = ["MachineEnvironment", "prepared"]


def prepared(options: Mapping[str, Any], timeout_s: float = 30.0) -> Machine:
    """A started machine in a task's initial state.

    Raises:
        OSError: no machine can be built here.
        ValueError: a script of the task fails.
    """
    machine = Machine(home=options["home"], timeout_s=timeout_s)
    machine.start()
    try:
        for language, code in options["init"]:
            _must_work(machine.run(language, code), code)
        if options["start"]:
            machine.launch(options["start"])
    except BaseException:
        machine.close()
        raise
    return machine


class MachineEnvironment:
    """`Environment` of the tasks on a machine; `setup.options`: `home`, `init`, `start`."""

    def __init__(self, *, timeout_s: float = 30.0) -> None:
        """Nothing is built before `reset`.

        Args:
            timeout_s: of one command.
        """
        self._timeout_s = timeout_s
        self._machine: Machine | None = None

    def reset(self, setup: Setup) -> str:
        """A new machine in its initial state."""
        self.close()
        self._machine = prepared(setup.options, self._timeout_s)
        return ""

    def step(self, action: Action) -> StepResult:
        """Run a command."""
        if action.name in (ANSWER, FINISH):
            return StepResult("", is_done=True)
        assert action.name == BASH, action.name
        found = self._open.shell(str(action.arguments["script"]))
        return StepResult(output_message(found.output), error=_failure(found))

    def snapshot(self) -> Mapping[str, Any]:
        """Nothing: a machine's state is what checks find."""
        return {}

    def inspect(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the checks in order until one fails.

        The first argument of each is the answer (`None` where there is none), then come the outputs
        of those before it. What the agent left running is stopped meanwhile.
        """
        arguments = [str(request["answer"])]
        steps = []
        for language, code in request["check"]:
            found = self._open.check(language, code, *arguments)
            steps.append(
                {"exit_code": found.exit_code, "output": found.output, "timed_out": found.timed_out}
            )
            if found.exit_code != 0:
                break
            arguments.append(found.output)
        return {"steps": steps, "wanted": len(request["check"])}

    def close(self) -> None:
        """Throw the machine away."""
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    @property
    def _open(self) -> Machine:
        assert self._machine is not None, "reset comes first"
        return self._machine


def _must_work(found: Finished, code: str) -> None:
    if found.exit_code != 0:
        msg = f"the initial script {code[:80]!r} ends with {found.exit_code}: {found.output[:300]}"
        raise ValueError(msg)


def _failure(found: Finished) -> str | None:
    if found.timed_out:
        return "timed out"
    return None if found.exit_code == 0 else f"exit {found.exit_code}"
