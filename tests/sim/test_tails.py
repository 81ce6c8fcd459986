"""The end of a build on a farm that another key keeps full."""

from __future__ import annotations

from tests.support.broker_world import JobFacts, World, blob


def test_the_last_jobs_of_a_build_do_not_wait_until_nobody_else_has_any() -> None:
    world = World(3)
    world.desk.validates_each = 0
    for number in range(4):
        world.node(f"n{number}", 4)
    agent, other = world.agent("agent"), world.agent("other")
    world.run(5)
    for number in range(1600):  # 100 s of all slots
        other.submit(JobFacts(f"other{number}", (blob("h"),), blob("gcc")))
    world.run(0.5)
    left = [JobFacts(f"{number}", (blob("h"),), blob("gcc")) for number in range(100)]
    began_at = world.now
    while (left or agent.waiting) and world.now < began_at + 200:
        while left and len(agent.waiting) < 32:
            agent.submit(left.pop())
        world.run(0.25)
    assert world.now - began_at < 40  # with half of the slots 14 s, and all of it 7 s
