// The one thing `slip39` asks of Node's Buffer.
export const Buffer = { from: (values) => Uint8Array.from(values) };
