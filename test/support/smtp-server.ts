/**
 * A mail server of a few lines: takes what it is given, after a login with one password, and shows it to the test.
 */
import { createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

export interface Mail {
  user: string;
  from: string;
  to: string[];
  data: string;
}

/** @param refuse  a reply to RCPT in place of 250 */
export async function startSmtp(t: TestContext, password: string, refuse?: string) {
  const mails: Mail[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    const say = (line: string) => socket.write(`${line}\r\n`);
    let mail: Mail = { user: "", from: "", to: [], data: "" };
    let isData = false;
    say("220 test");
    createInterface({ input: socket }).on("line", (line) => {
      if (isData) {
        if (line !== ".") mail.data += `${line}\n`;
        else {
          isData = false;
          mails.push(mail);
          say("250 taken");
        }
        return;
      }
      const word = line.slice(0, 4).toUpperCase();
      if (word === "EHLO") say("250-test\r\n250 AUTH PLAIN");
      else if (word === "AUTH") {
        const [, user = "", given] = Buffer.from(line.split(" ")[2] ?? "", "base64")
          .toString()
          .split("\0");
        mail = { ...mail, user };
        say(given === password ? "235 ok" : "535 5.7.8 wrong");
      } else if (word === "MAIL") {
        mail.from = /<(.*?)>/.exec(line)?.[1] ?? "";
        say("250 ok");
      } else if (word === "RCPT") {
        mail.to.push(/<(.*?)>/.exec(line)?.[1] ?? "");
        say(refuse ?? "250 ok");
      } else if (word === "DATA") {
        isData = true;
        say("354 go on");
      } else if (word === "QUIT") {
        say("221 bye");
        socket.end();
      } else say("250 ok");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { port, mails, connections: () => connections };
}
