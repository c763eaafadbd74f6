"""google.pubsub.v1.Publisher over the store. Registered by `server`."""

import grpc

from sandbox.pubsub.rpc import Gateway, Method, immediate, unary_handlers
from sandbox.pubsub.wire import (
    Pb,
    from_topic,
    merge_topic,
    pb_class,
    to_draft,
    to_topic_settings,
)

SERVICE = "google.pubsub.v1.Publisher"
Empty = pb_class("Empty")
PublishResponse = pb_class("PublishResponse")
ListTopicsResponse = pb_class("ListTopicsResponse")
ListTopicSubscriptionsResponse = pb_class("ListTopicSubscriptionsResponse")


class Publisher:
    """The methods of the Publisher service."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._store = gateway.store

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service for registration."""
        methods = [
            Method("CreateTopic", "Topic", "Topic", immediate(self._create_topic)),
            Method("UpdateTopic", "UpdateTopicRequest", "Topic", immediate(self._update_topic)),
            Method("GetTopic", "GetTopicRequest", "Topic", immediate(self._get_topic)),
            Method(
                "ListTopics",
                "ListTopicsRequest",
                "ListTopicsResponse",
                immediate(self._list_topics),
            ),
            Method(
                "ListTopicSubscriptions",
                "ListTopicSubscriptionsRequest",
                "ListTopicSubscriptionsResponse",
                immediate(self._list_topic_subscriptions),
            ),
            Method("DeleteTopic", "DeleteTopicRequest", "Empty", immediate(self._delete_topic)),
            Method(
                "Publish", "PublishRequest", "PublishResponse", immediate(self._publish), "publish"
            ),
        ]
        return grpc.method_handlers_generic_handler(SERVICE, unary_handlers(self._gateway, methods))

    def _create_topic(self, request: Pb) -> Pb:
        return from_topic(self._store.create_topic(request.name, to_topic_settings(request)))

    def _update_topic(self, request: Pb) -> Pb:
        name = request.topic.name
        settings = merge_topic(self._store.topic(name).settings, request)
        return from_topic(self._store.update_topic(name, settings, self._gateway.clock()))

    def _get_topic(self, request: Pb) -> Pb:
        return from_topic(self._store.topic(request.topic))

    def _list_topics(self, request: Pb) -> Pb:
        page, token = self._store.topics(request.project, request.page_size, request.page_token)
        return ListTopicsResponse(topics=map(from_topic, page), next_page_token=token)

    def _list_topic_subscriptions(self, request: Pb) -> Pb:
        page, token = self._store.topic_subscriptions(
            request.topic, request.page_size, request.page_token
        )
        names = [subscription.name for subscription in page]
        return ListTopicSubscriptionsResponse(subscriptions=names, next_page_token=token)

    def _delete_topic(self, request: Pb) -> Pb:
        self._store.delete_topic(request.topic)
        return Empty()

    def _publish(self, request: Pb) -> Pb:
        """Publish; RESOURCE_EXHAUSTED when the message memory is full (see `store`)."""
        drafts = [to_draft(message) for message in request.messages]
        ids = self._store.publish(request.topic, drafts, self._gateway.clock())
        for subscription in self._store.readers(request.topic):
            self._gateway.wake(subscription)
        return PublishResponse(message_ids=ids)
