/**
 * A program on the router: NAT-PMP as simple routers have it, which tells its address whatever that is worth.
 * Owns: the two answers of RFC 6886 §3.2 and §3.3, and "not this version" for PCP (RFC 6887 §9).
 * Never: forwards anything: behind a second NAT nothing would come.
 *
 * miniupnpd hides a private WAN address and refuses every port then, as careful routers do; most do neither.
 */
import { createSocket } from "node:dgram";

const [, , listenOn = "", wanAddress = ""] = process.argv;
const started = Date.now();
const socket = createSocket("udp4");

socket.on("message", (question, { address, port }) => {
  const version = question[0] ?? 0;
  const operation = question[1] ?? 0;
  const head = Buffer.from([0, 128 + operation, 0, version === 0 ? 0 : 1, 0, 0, 0, 0]);
  head.writeUInt32BE(Math.round((Date.now() - started) / 1_000), 4);
  const rest =
    version !== 0
      ? []
      : operation === 0
        ? [Buffer.from(wanAddress.split(".").map(Number))]
        : [question.subarray(4, 8), question.subarray(8, 12)];
  socket.send(Buffer.concat([head, ...rest]), port, address);
});
socket.bind(5351, listenOn, () => process.stdout.write("ready\n"));
