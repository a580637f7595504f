/** `longwave`: {@link EventSource}, and the events that it dispatches. */

export { EventSource, type EventSourceOptions } from "./eventsource.js";
export {
  EndEvent,
  type Gap,
  GapEvent,
  StreamError,
  StreamErrorEvent,
  StreamMessage,
  type Transport,
  TransportEvent,
} from "./events.js";
export { EventStream, type EventOf, type StreamEvents } from "./stream.js";
