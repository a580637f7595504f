// How every program here tells what its client delivered. Standard output is a pipe and written at once.

/** The event types that publishers of the tests use; an `EventSource` hears only those it listens for. */
export const EVENT_TYPES = ["message", "price", "order.created", "ünïcode", "longwave.gap"];

/** One event, as the client's own API gave it. */
export function reportEvent(client, { id, type, data, encoding }) {
  console.log(JSON.stringify({ client, id, type, data, encoding }));
}

/** The client was told that nothing more will come. */
export function reportDone(client, by) {
  console.log(JSON.stringify({ client, done: by }));
}

/** One message of the `longwave.v1` subprotocol; returns what is to be remembered of it. */
export function reportMessage(client, text) {
  const message = JSON.parse(text);
  if (message.end) return { ended: true };
  if (message.id) {
    reportEvent(client, message);
    return { cursor: message.id };
  }
  // A gap, or whatever else: nothing of that is expected where it is compared.
  reportEvent(client, { type: Object.keys(message).join(), data: message });
  return {};
}
