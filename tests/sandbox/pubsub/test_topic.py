from sandbox.pubsub.model import MINUTE, Draft, Message, MessagePool, TopicSettings
from sandbox.pubsub.topic import MessageLog, Topic


def message(number: int, at: int = 0) -> Message:
    return Message(str(number), number, at, Draft(b"x"), size=10)


def test_log_is_charged_and_shrinks_from_the_old_end():
    pool = MessagePool(1000)
    log = MessageLog(pool, [message(1, at=10), message(2, at=20)])
    log.append(message(3, at=30))
    assert pool.bytes == 30
    log.drop_older_than(20)
    assert [item.sequence for item in log.messages()] == [2, 3]
    log.clear()
    assert pool.bytes == 0


def test_deleted_topic_shows_the_placeholder():
    topic = Topic("projects/p/topics/abc", TopicSettings(), MessagePool(1000))
    assert topic.shown_name == "projects/p/topics/abc"
    topic.deleted = True
    assert topic.shown_name == "_deleted-topic_"


def test_topic_without_retention_keeps_nothing():
    topic = Topic("projects/p/topics/abc", TopicSettings(), MessagePool(1000))
    topic.log.append(message(1, at=10))
    topic.expire(11)
    assert topic.log.messages() == []


def test_topic_retention():
    topic = Topic("projects/p/topics/abc", TopicSettings(retention=10 * MINUTE), MessagePool(1000))
    topic.log.append(message(1, at=0))
    topic.expire(10 * MINUTE)
    assert len(topic.log.messages()) == 1
    topic.expire(10 * MINUTE + 1)
    assert topic.log.messages() == []
