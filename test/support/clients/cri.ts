/** The one call of the Kubernetes runtime API that a kubelet makes to get an image, over gRPC without a library. */
import { connect } from "node:http2";
import { connect as connectSocket } from "node:net";

// cri-api, runtime.v1: PullImageRequest { ImageSpec image = 1 }, ImageSpec { string image = 1 },
// PullImageResponse { string image_ref = 1 }. Every field here is number 1 with a length.
const fieldOne = 0x0a;

function encodeField(value: Buffer): Buffer {
  return Buffer.concat([Buffer.from([fieldOne, ...varint(value.length)]), value]);
}

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}

/** The first field of a message whose length fits one byte, as that of an image ID does. */
function decodeField(message: Buffer): string {
  const length = message[1] ?? 0;
  if (message[0] !== fieldOne || length >= 0x80) {
    throw new Error(`not the answer of PullImage: ${message.toString("hex")}`);
  }
  return message.subarray(2, 2 + length).toString();
}

/** Has the runtime behind a socket pull an image; the image ID that it answers. */
export async function pullImage(socket: string, reference: string): Promise<string> {
  const session = connect("http://localhost", { createConnection: () => connectSocket(socket) });
  try {
    return decodeField(await call(session, encodeField(encodeField(Buffer.from(reference)))));
  } finally {
    session.close();
  }
}

async function call(session: ReturnType<typeof connect>, message: Buffer): Promise<Buffer> {
  // grpc's PROTOCOL-HTTP2.md, "Length-Prefixed-Message": one byte of flags, four of length.
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(message.length, 1);
  const stream = session.request({
    ":method": "POST",
    ":path": "/runtime.v1.ImageService/PullImage",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const status: Record<string, unknown> = {};
  stream.on("response", (headers) => Object.assign(status, headers));
  stream.on("trailers", (headers) => Object.assign(status, headers));
  stream.end(Buffer.concat([prefix, message]));
  const pieces: Buffer[] = [];
  for await (const piece of stream as AsyncIterable<Buffer>) {
    pieces.push(piece);
  }
  if (status["grpc-status"] !== "0") {
    throw new Error(`PullImage: ${String(status["grpc-message"])} (status ${String(status["grpc-status"])})`);
  }
  return Buffer.concat(pieces).subarray(5);
}
