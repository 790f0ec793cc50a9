/**
 * For `node --import`: a process that makes a mistake when it is sent SIGUSR2, as a rejected promise when FAIL_BY says so.
 */
process.on("SIGUSR2", () => {
  const mistake = new Error("a mistake of a test at https://a.test/?token=c2VjcmV0");
  if (process.env["FAIL_BY"] === "rejection") void Promise.reject(mistake);
  else
    setImmediate(() => {
      throw mistake;
    });
});
