// A chat as `useChat` keeps it: the `ai` package's own `AbstractChat` and `DefaultChatTransport`, with an array where
// React has its state.

import { AbstractChat, DefaultChatTransport } from "ai";

/** What `@ai-sdk/react` does with React, without React. */
class MemoryState {
  status = "ready";
  error = undefined;

  constructor(messages = []) {
    this.messages = messages;
  }

  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.with(index, this.snapshot(message));
  };

  snapshot = (value) => structuredClone(value);
}

export class MemoryChat extends AbstractChat {
  constructor({ messages, ...options }) {
    super({ ...options, state: new MemoryState(messages) });
  }
}

/** A chat at a server, whose messages are answered at `/ui/chat`. */
export function openChat(base, { fetch, ...options } = {}) {
  return new MemoryChat({ transport: new DefaultChatTransport({ api: `${base}/ui/chat`, fetch }), ...options });
}

/** What the last message says, as the other SDKs' answers are told. */
export function answerOf(chat) {
  const { parts } = chat.lastMessage;
  const calls = parts.filter(({ type }) => type.startsWith("tool-"));
  return {
    text: parts.filter(({ type }) => type === "text").map(({ text }) => text).join(""),
    tools: calls.map(({ type, input }) => ({ name: type.slice("tool-".length), input })),
    // A UI message stream tells none.
    hasUsage: false,
  };
}

export const USE_CHAT = {
  name: "ai useChat",
  family: "ui",
  async ask(base, prompt, { fetch } = {}) {
    let finish;
    const chat = openChat(base, { fetch, onFinish: (given) => (finish = given) });
    await chat.sendMessage({ text: prompt });
    if (chat.error) throw chat.error;
    if (chat.status !== "ready" || finish.finishReason !== "stop") {
      throw new Error(`the chat is ${chat.status} and has finished by ${finish?.finishReason}`);
    }
    return answerOf(chat);
  },
};
