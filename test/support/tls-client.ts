/**
 * A TLS client as a browser is one: what certificate it is shown, and what it is answered.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import type { TestContext } from "node:test";
import { connect, type PeerCertificate, type TLSSocket } from "node:tls";

interface Place {
  port: number;
  servername: string;
  /** Roots in PEM; without them the certificate is not judged. */
  ca?: string;
}

/** A connection after its handshake, for HTTP/1.1, at most until the test ends. @throws why the handshake failed */
export async function secureClient(t: TestContext, place: Place): Promise<TLSSocket> {
  const socket = connect({ ...judged(place), ALPNProtocols: ["http/1.1"] });
  t.after(() => socket.destroy());
  await once(socket, "secureConnect");
  return socket;
}

/** @throws why the handshake failed */
export async function certificateShown(place: Place): Promise<PeerCertificate> {
  const socket = connect(judged(place));
  try {
    await once(socket, "secureConnect");
    return socket.getPeerCertificate();
  } finally {
    socket.destroy();
  }
}

/** What a GET for / on a connection of its own is answered. @throws why there is no answer */
export async function statusOf(place: Place): Promise<number | undefined> {
  const asked = request({ ...judged(place), headers: { host: place.servername }, agent: false });
  asked.end();
  const [res] = (await once(asked, "response")) as [IncomingMessage];
  res.resume();
  await once(res, "end");
  return res.statusCode;
}

const judged = ({ port, servername, ca }: Place) => ({
  host: "127.0.0.1",
  port,
  servername,
  ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
});
